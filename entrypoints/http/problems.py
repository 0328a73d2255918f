"""What a refused request is told: `application/problem+json` (RFC 9457), with a `code` for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from application.committer import Overloaded
from application.operate import UnknownProvider
from application.ports import StoreUnavailable
from domain.errors import KeyMisused, NotRequested, Refused

MEDIA_TYPE = "application/problem+json"

ERRORS_MAX = 100
"""Bad fields that one answer lists: a body of nothing else must not make an answer larger than itself."""

TOLD_MAX = 3
"""Bad fields that `detail` repeats, for people who look no further."""

FIELD_MAX = 100
"""Characters of a client's own name for something that are repeated."""

ASK_AGAIN = "Ask again with the same id: what was recorded after all is not recorded twice."
"""Where a commit may have happened without an answer."""

STORE_RETRY_AFTER_S = 5
"""A database that restarts is back in seconds."""


class Problem(Exception):
    """A request that is not done, and why."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self) -> Response:
        """The answer that says so. RFC 9457 §4.2.1: with about:blank the status says what kind of problem it is."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return Response(msgspec.json.encode(body), self.status, self.headers, MEDIA_TYPE)


def bad_field(field: str, message: str) -> dict[str, str]:
    """One of a problem's `errors`: the field as it is named in the request, and what is wrong with it."""
    return {"field": field, "message": message}


class Errors:
    """Collects what is wrong with the fields of a request; of each field the first thing found."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._heard = 0
        self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """Whether more of them are hardly worth a look."""
        return self._heard >= ERRORS_MAX

    def add(self, field: str, message: str) -> None:
        """`message` goes on where the field's name ends: `is required`."""
        # What a client calls a field may be anything, half a surrogate pair too.
        field = field[:FIELD_MAX].encode(errors="backslashreplace").decode()
        self._heard += 1
        if field in self._found:
            return
        if len(self._found) < ERRORS_MAX:
            self._found[field] = message
        else:
            self._unlisted += 1

    def mentions(self, field: str) -> bool:
        """Whether anything is wrong with the field or an entry of it."""
        return any(one == field or one.startswith(f"{field}[") for one in self._found)

    def problem(self) -> Problem:
        """All of it as one refusal."""
        told = [f"{field} {message}".lstrip() for field, message in list(self._found.items())[:TOLD_MAX]]
        more = len(self._found) - len(told) + self._unlisted
        detail = "; ".join(told) + (f"; and {more} more" if more else "")
        errors = [bad_field(field, message) for field, message in self._found.items()]
        return Problem(422, "invalid_request", detail, errors=errors)


REFUSALS = (Problem, Refused, UnknownProvider, Overloaded, StoreUnavailable, HTTPException, ClientDisconnect)
"""What handlers raise on purpose. Everything else is a mistake of ours."""


def problem_of(error: Exception) -> Problem:
    """What a client is told about an error: nothing of how we work inside."""
    match error:
        case Problem():
            return error
        case NotRequested():
            return Problem(404, "not_found", error.reason)
        case KeyMisused():
            return Problem(422, code_of(error), error.reason, errors=[bad_field("id", error.reason)])
        case Refused():
            return Problem(409, code_of(error), error.reason)
        case UnknownProvider():
            name = str(error)[:FIELD_MAX]
            detail = (
                f'There is no provider "{name}"; `stagepost providers list` and GET /providers name them.'
            )
            return Problem(404, code_of(error), detail)
        case Overloaded():
            detail = "More is waiting than may wait: this request was not accepted. Try again later."
            return unavailable(code_of(error), detail, error.retry_after_s)
        case StoreUnavailable():
            detail = f"The database doesn't answer. {ASK_AGAIN}"
            return unavailable(code_of(error), detail, STORE_RETRY_AFTER_S)
        case HTTPException():
            code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
            return Problem(error.status_code, code, _routing(error), headers=error.headers)
        case ClientDisconnect():
            return Problem(400, "disconnected", "The request ended before its body did.")
        case _:
            detail = "Something went wrong here, and it is not the request's fault; the log says more."
            return Problem(500, "internal", detail)


def unavailable(code: str, detail: str, retry_after_s: int) -> Problem:
    """Not now, but later."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after_s)})


def code_of(error: Exception) -> str:
    """The class's name as a code: `AttemptIsOpen` → `attempt_is_open`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def _routing(error: HTTPException) -> str:
    match error.status_code:
        case 404:
            return "There is nothing at this path."
        case 405:
            return f"This path takes: {(error.headers or {}).get('Allow', '')}."
        case _:
            return error.detail
