"""The port to a way out: what Stagepost asks of a provider, and what it may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from domain.content import Content
from domain.failures import Accepted, Outcome
from domain.frozen import quick


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One attempt's worth of an email.

    `recipients` are indexes into `content.envelope`, ascending: the ones this attempt carries. `date` is the
    Date header (send_at or acceptance, UTC): with `email_id` it makes every attempt send the same bytes.
    `provider_key` is the same for every attempt at one provider with the same recipients: the idempotency key
    where the provider honours keys, metadata for matching feedback where it does not.
    """

    email_id: str
    attempt: int
    recipients: tuple[int, ...]
    content: Content
    date: datetime
    provider_key: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """The envelope addresses this attempt carries, in the order of `recipients`."""
        envelope = self.content.envelope
        return tuple(envelope[index].address for index in self.recipients)


class ProviderUnfit(Exception):
    """`check` failed: the provider can't be reached or does not let us in. The message says what to do."""


@runtime_checkable
class Searchable(Protocol):
    """A provider that can be asked what became of an attempt whose answer was lost."""

    async def find(self, submission: Submission) -> Accepted | None:
        """Its acceptance of an earlier `send` of this very submission (email, recipients, provider key).

        None: it knows of none yet, or did not answer, and neither is evidence of anything. Never raises but for
        cancellation, and returns within a bounded time of its own.
        """


class Provider(Protocol):
    """A configured way out.

    `send` makes exactly one try: no retries of its own and none of its library's. It never raises but for
    cancellation, and its outcome is truthful: `NotAccepted` only where the provider certainly took the email
    for nobody, `Accepted` only on its word, `Unanswered` for all else. Every recipient of the submission is in
    at most one of accepted, refused, deferred. Texts in the outcome may still hold addresses; whoever records
    them scrubs them. It returns within a bounded time of its own (its configured timeouts), and is safe to call
    concurrently in one event loop. A cancelled `send` ends at once and leaves its connection closed. Where it
    knows what became of the email it answers even so (`not_tried`: nothing was handed over); else it raises
    CancelledError, which means that it may have been.
    """

    @property
    def name(self) -> str:
        """The name in the configuration."""

    @property
    def type(self) -> str:
        """smtp, sandbox, …"""

    @property
    def key_ttl(self) -> timedelta | None:
        """How long a repeat of the same `provider_key` is answered from the first; None: keys are not honoured."""

    async def send(self, submission: Submission) -> Outcome:
        """Hand the submission over, once."""

    async def check(self) -> str:
        """Connect and authenticate without sending; a sentence that says what was seen. Raises ProviderUnfit."""

    async def close(self) -> None:
        """Let go of every connection. Idempotent; `send` may not be called afterwards."""
