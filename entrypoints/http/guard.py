"""Who may ask for what, checked before anything else; and the last net under everything that fails."""

from __future__ import annotations

import ipaddress
from enum import Enum, auto
from functools import lru_cache
from hmac import compare_digest

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.logbook import Logbook, as_fields
from entrypoints.http.body import Headers
from entrypoints.http.linger import Lingering, is_last
from entrypoints.http.options import HttpOptions
from entrypoints.http.problems import Problem, problem_of

OPEN = frozenset({"/healthz", "/readyz"})
"""What a load balancer asks without any token."""

SENDERS = frozenset({("POST", "/send-email"), ("GET", "/statuses"), ("HEAD", "/statuses")})
"""What the send token is good for, and single statuses. Everything else needs the admin token."""


class Caller(Enum):
    """Whose token it is."""

    NOBODY = auto()
    SENDER = auto()
    ADMIN = auto()


class Guard:
    """ASGI middleware. Refuses, logs what it refuses, and answers for handlers that fail."""

    def __init__(self, app: ASGIApp, options: HttpOptions, logbook: Logbook) -> None:
        self._app = app
        self._logbook = logbook
        self._open = not options.has_tokens
        self._admin = _octets(options.admin_token)
        self._send = _octets(options.send_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        if is_last(scope, headers):
            lingering = Lingering(receive, send)
            receive, send = lingering.receive, lingering.send
        refused = self._refusal(scope, headers)
        if refused is not None:
            self._logbook.info("request_refused", status=refused.status, code=refused.code)
            await refused.response()(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            self._logbook.error("request_failed", method=scope["method"], **as_fields(error))
            if not started:
                await problem_of(error).response()(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        path: str = scope["path"]
        if path in OPEN:
            return None
        if self._open:
            return _foreign(headers)
        match self._caller(headers.get(b"authorization", b"")):
            case Caller.ADMIN:
                return None
            case Caller.SENDER:
                return None if _is_for_senders(scope["method"], path) else _not_enough(self._admin)
            case Caller.NOBODY:
                return _unauthorized(b"authorization" in headers)

    def _caller(self, authorization: bytes) -> Caller:
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            return Caller.NOBODY
        # Both are compared whatever the first says, and in a time that doesn't tell how much was right.
        admin = self._admin is not None and compare_digest(token, self._admin)
        sender = self._send is not None and compare_digest(token, self._send)
        return Caller.ADMIN if admin else Caller.SENDER if sender else Caller.NOBODY


def _octets(token: str | None) -> bytes | None:
    return None if token is None else token.encode()


def _is_for_senders(method: str, path: str) -> bool:
    return (method, path) in SENDERS or (method in ("GET", "HEAD") and path.startswith("/statuses/"))


def _unauthorized(given: bool) -> Problem:
    detail = "This is no token of ours." if given else "Send a token, as Authorization: Bearer TOKEN."
    challenge = 'Bearer realm="stagepost"' + (', error="invalid_token"' if given else "")
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _not_enough(admin: bytes | None) -> Problem:
    detail = "The send token may send and read statuses; this needs the admin token"
    return Problem(
        403,
        "forbidden",
        detail + ("." if admin is not None else ", and none is configured (admin_token)."),
        headers={"WWW-Authenticate": 'Bearer realm="stagepost", error="insufficient_scope"'},
    )


def _foreign(headers: Headers) -> Problem | None:
    """Without tokens: whether a page from elsewhere, in a browser on this machine, is behind the request.

    By a name of its own that leads to loopback (DNS rebinding) it could read answers: the `Host` gives it away.
    Without one it can still have a request sent blindly, of the kinds browsers don't ask us about: `Origin` does.
    """
    host = headers.get(b"host", b"")
    if not _is_loopback(host):
        detail = "Without tokens the Host has to be a loopback name, like 127.0.0.1, localhost or [::1]."
        return Problem(403, "foreign_host", detail)
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"://")[2].lower() != host.lower():
        return Problem(403, "foreign_origin", "Without tokens no page from elsewhere may call.")
    return None


@lru_cache(maxsize=64)
def _is_loopback(host: bytes) -> bool:
    """Whether a Host header, with or without a port, names this machine; an address can't be rebound."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name = host.decode("latin-1")
    if name.lower() == "localhost":
        return True
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
