"""Where Google keeps and computes what: addresses of its API, buckets around a region. Pure.

Three kinds of location have three kinds of address: a region (`us-central1`), the multi-regions `us` and
`eu`, and `global`. Gemini 3 is tuned in a region and answers from the multi-region around it; `global`
would answer from anywhere, so it is never asked.
https://docs.cloud.google.com/gemini-enterprise-agent-platform/resources/locations
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

GLOBAL = "global"
_MULTI_REGIONS = ("us", "eu")
_ZONES = {"us": "us", "europe": "eu", "asia": "asia"}
_NOT_EU = ("europe-west2", "europe-west6")  # London and Zürich
_DUAL_REGION = re.compile(r"nam\d+|eur\d+|asia\d+")
_DUAL_ZONES = {"nam": "us", "eur": "eu", "asi": "asia"}
_LOCATION = re.compile(r"/locations/([^/]+)/")


def api_address(location: str) -> str:
    """The address of the API for what lies in a location."""
    if location == GLOBAL:
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def is_loopback(address: str) -> bool:
    """Whether a URL is this machine's own; no name is looked up."""
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def location_of(resource: str) -> str:
    """The location in a resource's name, `projects/…/locations/<location>/…`; empty where it has none."""
    found = _LOCATION.search(resource)
    return found[1] if found else ""


def serving_location(region: str, family: str) -> str:
    """Where the base model answers, so that data stays as near as when it is tuned in that region."""
    zone = _zone(region)
    return zone if family == "gemini-3" and zone in _MULTI_REGIONS else region


def _zone(location: str) -> str:
    """The part of the world (`us`, `eu`, `asia`) a region or multi-region is in; empty where neither."""
    if _DUAL_REGION.fullmatch(location):
        return _DUAL_ZONES[location[:3]]
    if location in _NOT_EU:
        return ""
    if location in ("us", "eu", "asia"):
        return location
    return _ZONES.get(location.partition("-")[0], "")


def is_around(bucket_location: str, region: str) -> bool:
    """Whether what lies in a bucket stays where the job's region promises: the bucket is in that region,
    or in a multi-region or pair of regions of the same part of the world. A `global` job promises nothing.
    """
    place = bucket_location.lower()
    if region == GLOBAL or place == region:
        return True
    return "-" not in place and _zone(place) != "" and _zone(place) == _zone(region)
