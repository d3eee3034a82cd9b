"""Google's clients: one credential, three doors. The vendor's packages are imported here, when first used.

Tuning jobs go through google-auth's own HTTP session, so that the wire is our translation and nothing
else; Cloud Storage and inference go through their SDKs. Why: `docs/decisions/2026-11-22-vertex-client.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from backends.vertex.places import api_address, is_loopback

if TYPE_CHECKING:
    import google.auth.credentials as google_credentials
    from google import genai
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud import storage

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10.0
_PAGE = 100


class Clients:
    """The clients of one project. Nothing is made before it is used, and then once; safe in threads.

    Args:
        project: Google's project, by id or number.
        base_url: address of the API in place of Google's own for every location.
    """

    def __init__(self, project: str, base_url: str | None) -> None:
        self.project = project
        self._base_url = base_url and base_url.rstrip("/")
        self._models: dict[str, genai.Client] = {}
        self._lock = threading.RLock()

    def address(self, location: str) -> str:
        """Where calls about what lies in a location go."""
        return self._base_url or api_address(location)

    @property
    def storage_address(self) -> str:
        """Where Cloud Storage's SDK sends files, its own variables considered. No network."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        nobody = cast("Any", AnonymousCredentials)()
        return cast("Any", storage.Client)(project=self.project, credentials=nobody).api_endpoint

    # -- credential --------------------------------------------------------------------------------

    @cached_property
    def credential(self) -> google_credentials.Credentials:
        """What Google's own chain finds: `GOOGLE_APPLICATION_CREDENTIALS`, then gcloud's, then the
        machine's."""
        from google import auth

        found = cast("Any", auth).default(scopes=[SCOPE])[0]
        return _quiet(found) if self._base_url and is_loopback(self._base_url) else found

    # -- tuning jobs -------------------------------------------------------------------------------

    @cached_property
    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        return cast("Any", AuthorizedSession)(self.credential)

    def call(
        self,
        method: str,
        location: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One call of the API, sent once: `path` is the version and the resource.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: the reply is an error.
            requests.RequestException, google.auth.exceptions.GoogleAuthError: there is no reply.
        """
        from google.api_core import exceptions

        with self._lock:
            session: Any = self._session
        response = session.request(
            method,
            f"{self.address(location)}/{path}",
            json=body,
            params=query,
            timeout=(CONNECT_TIMEOUT_S, TIMEOUT_S),
            allow_redirects=False,  # a redirect would carry the request past the addresses we told of
        )
        if response.status_code != 200:
            raise cast("Any", exceptions).from_http_response(response)
        return response.json()

    def pages(self, location: str, path: str, items: str, query: Mapping[str, str]) -> Iterator[Any]:
        """Every item of a list, page by page, to the end."""
        asked = {"pageSize": str(_PAGE), **query}
        while True:
            page = self.call("GET", location, path, query=asked)
            yield from page.get(items, ())
            if not page.get("nextPageToken"):
                return
            asked["pageToken"] = page["nextPageToken"]

    # -- storage and inference ---------------------------------------------------------------------

    @cached_property
    def storage(self) -> storage.Client:
        from google.cloud import storage

        return cast("Any", storage.Client)(project=self.project, credentials=self.credential)

    def models(self, location: str) -> genai.Client:
        """The inference client for a location. It sends each request once: who asks, decides on more."""
        with self._lock:
            if location not in self._models:
                self._models[location] = self._model_client(location)
            return self._models[location]

    def _model_client(self, location: str) -> genai.Client:
        import httpx
        from google import genai
        from google.genai import types

        return genai.Client(
            vertexai=True,
            project=self.project,
            location=location,
            credentials=self.credential,
            http_options=types.HttpOptions(
                base_url=self.address(location),
                api_version="v1",
                retry_options=types.HttpRetryOptions(attempts=1),
                httpx_client=httpx.Client(timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)),
            ),
        )


def _quiet(found: google_credentials.Credentials) -> google_credentials.Credentials:
    """The same tokens without google-auth's look-ups beside them: with a service account it asks an
    address of Google's own for the regions allowed, which a stand-in on this machine must not cause."""
    from google.auth import credentials

    class Tokens(credentials.Credentials):  # pyright: ignore[reportUntypedBaseClass]
        """Refreshes through another credential."""

        def refresh(self, request: Any) -> None:
            inner: Any = found
            inner.refresh(request)
            self.token, self.expiry = inner.token, inner.expiry

    return Tokens()
