"""What the stand-in for Resend keeps: keys and domains, the emails it took, the idempotency keys it knows."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.resend_api import EMAIL_BYTES_MAX, STATUSES, Refusal
from tests.support.resend_script import Call

KEY_TTL_S = 86_400.0
"""Docs, dashboard/emails/idempotency-keys."""

FULL_ACCESS = "re_full_access"
SENDING_ACCESS = "re_sending_access"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenEmail:
    """An email it accepted: `email_id` is ours, from the tag, else the Idempotency-Key."""

    id: str
    email_id: str
    key: str
    tags: Mapping[str, str]
    recipients: tuple[str, ...]
    payload: Mapping[str, Any]
    at: float


@dataclass(slots=True)
class _Key:
    """What an Idempotency-Key was used for. No `id`: that request is under way."""

    body: bytes
    at: float
    id: str | None = None


class ResendAccount:
    """`keys`: API key → whether it has full access. `domains`: the verified ones; None: all are.

    `now` is the clock that idempotency keys and dates go by, in seconds since 1970.
    """

    def __init__(
        self, *, keys: Mapping[str, bool] | None, domains: frozenset[str] | None, now: Callable[[], float]
    ) -> None:
        self.keys = dict(keys or {FULL_ACCESS: True, SENDING_ACCESS: False})
        self.domains = domains
        self.now = now
        self.emails: list[TakenEmail] = []
        """What it took, in order."""
        self._known: dict[str, _Key] = {}

    def copies(self) -> Counter[str]:
        """How often each email was taken, by email id."""
        return Counter(one.email_id for one in self.emails)

    def copies_per_recipient(self) -> Counter[tuple[str, str]]:
        """How often each (email id, recipient) was taken."""
        return Counter((one.email_id, who) for one in self.emails for who in one.recipients)

    def unauthorised(self, key: str) -> Refusal | None:
        """What is wrong with this API key."""
        if not key:
            return Refusal(401, "missing_api_key", "Missing API key in the authorization header.")
        return None if key in self.keys else Refusal(403, "invalid_api_key", "API key is invalid.")

    def list_domains(self, key: str) -> Refusal | dict[str, Any]:
        """`GET /domains`."""
        if refusal := self.unauthorised(key):
            return refusal
        if not self.keys[key]:
            return Refusal(401, "restricted_api_key", "This API key is restricted to only send emails")
        data = [{"id": name, "name": name, "status": "verified"} for name in sorted(self.domains or ())]
        return {"object": "list", "has_more": False, "data": data}

    def unsendable(self, call: Call) -> Refusal | None:
        """Why the account doesn't send this."""
        if len(call.body) > EMAIL_BYTES_MAX:
            return Refusal(413, "", "Payload Too Large")
        if self.domains is not None and call.sender_domain not in self.domains:
            message = f"The {call.sender_domain} domain is not verified. Please, add and verify your domain."
            return Refusal(403, "validation_error", message)
        return None

    async def take(self, call: Call, wait_s: float) -> Refusal | str:
        """The id of the email, that of the first time where its Idempotency-Key was used in the last 24 hours."""
        key = call.idempotency_key
        known = self._known.get(key) if key else None
        if known is None or self.now() - known.at >= KEY_TTL_S:
            known = _Key(call.body, self.now())
            if key:
                self._known[key] = known
            try:
                if wait_s:
                    await asyncio.sleep(wait_s)
                known.id = self._add(call)
            finally:
                if known.id is None:
                    self._known.pop(key, None)
        elif known.body != call.body:
            return _conflict("invalid_idempotent_request", "This key has been used with another body.")
        elif known.id is None:
            return _conflict(
                "concurrent_idempotent_requests", "There is another request in progress with it."
            )
        return known.id

    def _add(self, call: Call) -> str:
        taken = TakenEmail(
            id=str(uuid.uuid4()),
            email_id=call.email_id or call.idempotency_key,
            key=call.idempotency_key,
            tags=call.tags,
            recipients=call.recipients,
            payload=call.payload,
            at=self.now(),
        )
        self.emails.append(taken)
        return taken.id


def _conflict(name: str, message: str) -> Refusal:
    return Refusal(STATUSES[name], name, message)
