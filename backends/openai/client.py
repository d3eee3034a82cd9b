"""The clients of one site, and whose credential each carries.

A credential goes only where it belongs. OpenAI's SDK takes its key, organisation and any extra headers
from the environment for whatever address it is given; so for an address that is not OpenAI's, every header
but the protocol's own is taken off each request, and that address's credential is put on. No client
follows a redirect: it would carry rows, or a credential, to a host that nobody was asked about.

The SDK repeats nothing by itself: a create that is repeated is a second paid job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.core.errors import Unreachable

if TYPE_CHECKING:
    from openai import OpenAI

Headers = Callable[[], Mapping[str, str]]

CONNECT_S, ANSWER_S, UPLOAD_S = 10.0, 60.0, 900.0
DATA_SCOPE = "https://cognitiveservices.azure.com/.default"
MANAGEMENT_SCOPE = "https://management.azure.com/.default"

# What the protocol itself needs, and the SDK's account of itself (`x-stainless-…`).
_OF_THE_PROTOCOL = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding",
     "user-agent"}
)  # fmt: skip


def openai_client(endpoint: str | None) -> OpenAI:
    """OpenAI itself; the SDK's own variables say which account and, without an endpoint, which address."""
    from openai import DefaultHttpxClient, OpenAI

    http = DefaultHttpxClient(follow_redirects=False)
    return OpenAI(base_url=endpoint, max_retries=0, timeout=timeout(ANSWER_S), http_client=http)


def azure_client(endpoint: str) -> OpenAI:
    """An Azure OpenAI resource, by its v1 interface."""
    return _foreign(f"{endpoint.rstrip('/')}/openai/v1/", azure_headers(endpoint))


def compatible_client(endpoint: str, key: Callable[[], str | None]) -> OpenAI:
    """Somebody's own server; many take no key."""

    def headers() -> Mapping[str, str]:
        found = key()
        return {"Authorization": f"Bearer {found}"} if found else {}

    return _foreign(endpoint, headers)


def timeout(answer_s: float) -> Any:
    from openai import Timeout

    return Timeout(answer_s, connect=CONNECT_S)


def _foreign(base_url: str, headers: Headers) -> OpenAI:
    """A client for an address that is not OpenAI's; see above."""
    from openai import DefaultHttpxClient, OpenAI

    def only_theirs(request: Any) -> None:
        for name in list(request.headers):
            if name.lower() not in _OF_THE_PROTOCOL and not name.lower().startswith("x-stainless-"):
                del request.headers[name]
        request.headers.update(headers())

    http = DefaultHttpxClient(follow_redirects=False, event_hooks={"request": [only_theirs]})
    return OpenAI(
        api_key="taken off again",  # else the SDK reads OpenAI's own
        base_url=base_url,
        max_retries=0,
        timeout=timeout(ANSWER_S),
        http_client=http,
    )


def azure_headers(endpoint: str) -> Headers:
    """The resource's credential: a key or token from the SDK's own variables, else an identity of Azure's
    (environment, workload, managed, signed-in developer)."""
    from openai import AzureOpenAI, OpenAIError

    try:
        chain = AzureOpenAI(azure_endpoint=endpoint, api_version="v1")
    except OpenAIError:
        return identity_headers(DATA_SCOPE)
    return lambda: chain.auth_headers


def identity_headers(scope: str) -> Headers:
    """A token of the first identity that Azure's own chain finds, renewed before it ends."""
    from azure.identity import DefaultAzureCredential, get_bearer_token_provider

    token = get_bearer_token_provider(DefaultAzureCredential(), scope)
    return lambda: {"Authorization": f"Bearer {token()}"}


# -- what the SDK hands back ------------------------------------------------------------------------


def as_json(answer: Any) -> Mapping[str, Any]:
    """A reply as JSON. The SDK gives bare text for what it could not read.

    Raises:
        Unreachable: it is no reply of this protocol.
    """
    if not hasattr(answer, "to_dict"):
        raise unreadable("openai")
    return answer.to_dict(mode="json", warnings=False)


def page(answer: Any) -> list[Mapping[str, Any]]:
    """The items of one page."""
    return [as_json(item) for item in answer.data or ()]


def listed(first: Any) -> Iterator[Mapping[str, Any]]:
    """Every item of every page. A server that knows no cursors gives its first page for ever; it is left
    when an item turns up twice."""
    seen: set[object] = set()
    for item in first:
        reply = as_json(item)
        if reply.get("id") in seen:
            return
        seen.add(reply.get("id"))
        yield reply


def unreadable(backend: str) -> Unreachable:
    return Unreachable(
        "the answer is not one of this protocol; whether it was done is not known",
        backend=backend,
        retryable=True,
        fix="check the address",
    )
