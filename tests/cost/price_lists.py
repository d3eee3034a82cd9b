"""A server of ours that answers like the public price lists of AWS and Azure: their shapes, our figures."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cost.live import Lists


def usage(name: str, price: str, unit: str = "1K tokens") -> dict[str, str]:
    return {"usagetype": name, "price": price, "unit": unit}


def meter(
    name: str, price: float, unit: str = "1K", region: str = "swedencentral", currency: str = "USD"
) -> dict[str, Any]:
    return {
        "currencyCode": currency,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": region,
        "meterName": name,
        "productName": "Azure OpenAI",
        "skuName": name,
        "unitOfMeasure": unit,
        "type": "Consumption",
        "effectiveStartDate": "2026-11-01T00:00:00Z",
    }


@dataclass
class Published:
    """What the lists hold, and what was asked of them."""

    aws: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    azure: list[list[dict[str, Any]]] = field(default_factory=lambda: [[]])
    status: int = 200
    following: str | None = None
    asked: list[str] = field(default_factory=list[str])

    def answer(self, path: str, address: str) -> object:
        parts = urlsplit(path)
        if parts.path.startswith("/offers/"):
            return self._aws_file(self.aws.get(parts.path.split("/")[-2], []))
        page = int(parse_qs(parts.query).get("$skip", ["0"])[0])
        more = page + 1 < len(self.azure)
        following = self.following or (f"{address}/api/retail/prices?$skip={page + 1}" if more else None)
        return {"Items": self.azure[page], "NextPageLink": following, "Count": len(self.azure[page])}

    def _aws_file(self, usages: list[dict[str, str]]) -> object:
        products = {
            f"SKU{at}": {"sku": f"SKU{at}", "attributes": {"usagetype": each["usagetype"]}}
            for at, each in enumerate(usages)
        }
        terms = {f"SKU{at}": {f"SKU{at}.TERM": _term(each)} for at, each in enumerate(usages)}
        return {
            "formatVersion": "v1.0",
            "publicationDate": "2026-11-20T00:00:00Z",
            "products": products,
            "terms": {"OnDemand": terms},
        }


def _term(each: dict[str, str]) -> dict[str, Any]:
    dimension = {"unit": each["unit"], "pricePerUnit": {"USD": each["price"]}, "description": ""}
    return {"effectiveDate": "2026-11-01T00:00:00Z", "priceDimensions": {"RATE": dimension}}


@contextmanager
def serving(published: Published) -> Generator[Lists]:
    """The lists over loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            published.asked.append(self.path)
            address = f"http://{self.headers['host']}"
            body = json.dumps(published.answer(self.path, address)).encode()
            self.send_response(published.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        yield Lists(address, address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
