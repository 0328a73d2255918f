"""Writing through the service that owns the database: its HTTP API, with the configured token."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from entrypoints.cli.output import BadUsage, CannotDo
from entrypoints.config import Tokens
from entrypoints.shapes import Shape

ANSWER_MAX_S = 60.0
"""A service that takes longer than this over one request is not going to answer it."""
LOOK_S = 0.25
"""How often the service is asked how a rebuild goes."""

ANSWER_OCTETS_MAX = 1_000_000
"""Far more than any answer about one email or provider has."""


class Remote:
    """A service on this machine, by the URL in its lock file. Talks to it directly, whatever proxy is set."""

    def __init__(self, url: str, tokens: Tokens) -> None:
        self._url = url
        self._tokens = tokens

    def send(self, document: bytes) -> Shape:
        """Accept an email; `document` is the body of a `POST /send-email`."""
        return self._post("/send-email", document, self._tokens.send or self._tokens.admin)

    def retry(self, ref: str, accept_duplicate_risk: bool) -> Shape:
        """Reopen a failed email, let a held one go."""
        body = json.dumps({"accept_duplicate_risk": accept_duplicate_risk}).encode()
        return self._post(f"/emails/{_part(ref)}/retry", body, self._tokens.admin)

    def cancel(self, ref: str) -> Shape:
        """Call an email off."""
        return self._post(f"/emails/{_part(ref)}/cancel", b"", self._tokens.admin)

    def provider(self, name: str, action: str) -> Shape:
        """`pause`, `resume` or `reset` a provider."""
        return self._post(f"/providers/{_part(name)}/{action}", b"", self._tokens.admin)

    def rebuild(self, view: str, told: Callable[[Shape], None]) -> Shape:
        """Have a view made anew; the service goes on with it even if we don't wait."""
        state = self._post(f"/rebuild/{_part(view)}", b"", self._tokens.admin)
        while state.get("state") == "running":
            told(state)
            time.sleep(LOOK_S)
            state = self._call("GET", "/rebuild", b"", self._tokens.admin)
        return state

    def _post(self, path: str, body: bytes, token: str | None) -> Shape:
        return self._call("POST", path, body, token)

    def _call(self, method: str, path: str, body: bytes, token: str | None) -> Shape:
        headers = {"Content-Type": "application/json"} if body else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        where = urlsplit(self._url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=ANSWER_MAX_S)
        try:
            status, said = self._exchange(connection, method, path, body, headers)
        finally:
            connection.close()
        answer = _object(said)
        if answer is None:
            raise CannotDo(f"what listens at {self._url} gives no answer of ours (HTTP {status})")
        if status < 300:
            return answer
        raise self._refusal(status, answer)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        try:
            connection.connect()
        except OSError as error:
            raise CannotDo(
                f"the database's service at {self._url} can't be reached: {_why(error)}; nothing was done"
            ) from error
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_OCTETS_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise CannotDo(
                f"the database's service at {self._url} gave no answer: {_why(error)}; "
                "`stagepost status` tells whether it was done"
            ) from error

    def _refusal(self, status: int, problem: dict[str, Any]) -> Exception:
        if status in (401, 403):
            return CannotDo(
                f"the service at {self._url} refuses the token: use the configuration that it runs with"
            )
        said = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        if problem.get("code") == "invalid_request":
            return BadUsage(said)
        return CannotDo(said)


def _part(text: str) -> str:
    return quote(text, safe="")


def _object(said: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
