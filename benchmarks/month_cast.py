"""Who takes part in a month: clients who hand emails in, and providers with good and bad hours."""

from __future__ import annotations

import math
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from application.accept import SendRequest
from application.settings import ProviderSettings, Settings
from domain.content import Address
from domain.email.events import Bounced, Clicked, Complained, Delivered, Feedback, Opened
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered
from domain.rate_limit import Rate
from domain.routing import OnLimit, OnUncertain, Priority, Route
from entrypoints.http.intake import Intake

T0 = datetime(2026, 3, 1, tzinfo=UTC)
"""When the month begins."""

DAY = timedelta(days=1)
HOUR_S = 3600.0

SETTINGS = Settings(
    providers={
        "relay": ProviderSettings(name="relay", type="smtp", rates=(Rate.parse("1200/m"),), concurrency=32),
        "resend": ProviderSettings(
            name="resend", type="resend", rates=(Rate.parse("10/s"),), concurrency=64, key_ttl=DAY
        ),
        "postmark": ProviderSettings(name="postmark", type="postmark", concurrency=64, feedback=True),
    },
    routes={
        "otp": Route(
            name="otp",
            providers=("resend", "postmark"),
            on_limit=OnLimit.OVERFLOW,
            priority=Priority.HIGH,
            expires_after=timedelta(minutes=2),
            match_tag="otp",
        ),
        "newsletter": Route(
            name="newsletter",
            providers=("postmark", "relay"),
            priority=Priority.BULK,
            on_uncertain=OnUncertain.FAIL,
            match_tag="newsletter",
        ),
        "default": Route(name="default", providers=("relay", "resend", "postmark")),
    },
    service_rates=(Rate.parse("6000/m"),),
)
"""What such a month is decided with; its circuits are the default ones."""

ERASED = 0.03
"""The part of the ended emails whose content somebody had erased."""

IN_BURSTS = 0.25
"""The part of the emails that come as newsletters, many within seconds."""

BURST_PAUSE_S = 0.02
BURST_OF_OUTAGES = 0.5
"""Newsletters happen to go out when a provider is down, or a small month would hardly open a circuit."""

FIRST_BURST_HOUR = 9
DOMAINS = ("example.com", "example.org", "example.net", "mail.example", "firma.example")
TERMS = b64encode(b"%PDF-1.7 The terms that go along with every contract.\n" * 40).decode()


class Clients:
    """Hand emails in: more by day than by night, and in bursts."""

    def __init__(self, *, per_s: float, outages: Sequence[datetime], chance: Random, days: int) -> None:
        """`per_s`: on average."""
        self._per_s = per_s * (1 - IN_BURSTS)
        bursts = [T0 + day * DAY + timedelta(hours=FIRST_BURST_HOUR) for day in range(days)]
        bursts += [
            at + timedelta(seconds=chance.uniform(5, 120))
            for at in outages
            if chance.random() < BURST_OF_OUTAGES
        ]
        self._bursts = sorted(bursts)
        self._burst_size = max(8, round(IN_BURSTS * per_s * days * DAY.total_seconds() / len(bursts)))
        self._burst_left = 0
        self._intake = Intake(Address(address="shop@shop.example", name="Shop"))

    def pause_s(self, now: datetime, chance: Random) -> float:
        """How long until the next email comes in."""
        if self._burst_left > 0:
            return BURST_PAUSE_S
        hour = (now - T0).total_seconds() / HOUR_S % 24
        busy = 1 + 0.9 * math.sin((hour - 8) / 24 * 2 * math.pi)
        return chance.expovariate(self._per_s * busy)

    def ask(self, now: datetime, number: int, chance: Random) -> SendRequest:
        """The next email, the `number`th."""
        if self._burst_left == 0 and self._bursts and now >= self._bursts[0]:
            self._burst_left = self._burst_size
            del self._bursts[0]
        body: Mapping[str, Any]
        if self._burst_left > 0:
            self._burst_left -= 1
            body = _newsletter(number, now)
        elif chance.random() < 0.3:
            body = _otp(number, chance)
        else:
            body = _order(number, now, chance)
        return self._intake.request(msgspec.json.encode(body), now=now)


def _to(number: int) -> str:
    return f"customer{number % 50_000}@{DOMAINS[number % len(DOMAINS)]}"


def _newsletter(number: int, now: datetime) -> Mapping[str, Any]:
    issue = f"{now:%Y-%m-%d}"
    return {
        "id": f"news/{issue}/{_to(number)}/{number}",
        "to": _to(number),
        "subject": f"What is new, {issue}",
        "body": "New this week: " + "much to read. " * 20,
        "html": "<p>New this week: " + "much to read. " * 20 + "</p>",
        "headers": {"List-Unsubscribe": f"<https://shop.example/u/{number}>"},
        "tags": ["newsletter", issue],
    }


def _otp(number: int, chance: Random) -> Mapping[str, Any]:
    code = chance.randrange(100_000, 1_000_000)
    return {
        "id": f"otp-{number}",
        "to": _to(number),
        "subject": "Your code",
        "body": f"{code}",
        "tags": ["otp"],
    }


def _order(number: int, now: datetime, chance: Random) -> Mapping[str, Any]:
    body: dict[str, Any] = {
        "id": f"order-{number}",
        "to": _to(number),
        "subject": f"Your order {number}",
        "body": f"Größe und Menge wie bestellt, Nr. {number}.\n" * 8,
        "tags": ["order"],
    }
    kind = chance.random()
    if kind < 0.10:
        body["to"] = [_to(number + step * 7) for step in range(chance.randrange(2, 6))]
    elif kind < 0.15:
        body["send_at"] = (now + timedelta(seconds=chance.uniform(60, 20_000))).isoformat()
    elif kind < 0.16:
        body["on_uncertain"] = "hold"
    elif kind < 0.18:
        invoice = b64encode(chance.randbytes(chance.randrange(500, 4000))).decode()
        body["attachments"] = [{"filename": f"invoice-{number}.pdf", "content": invoice}]
        if kind < 0.17:
            body["attachments"].append({"filename": "terms.pdf", "content": TERMS})
    return body


@dataclass(frozen=True, slots=True)
class Outage:
    """A provider's bad hour: nearly all it is asked ends with `kind`."""

    begins: datetime
    ends: datetime
    kind: FailureKind


OUTAGE_EVERY_S = 30 * HOUR_S
OUTAGE_KINDS = (FailureKind.TRANSIENT,) * 6 + (
    FailureKind.THROTTLED,
    FailureKind.THROTTLED,
    FailureKind.UNCERTAIN,
    FailureKind.ACCOUNT,
)
RARE = (
    (0.0150, FailureKind.TRANSIENT),
    (0.0070, FailureKind.RECIPIENT),
    (0.0060, FailureKind.DEFERRED),
    (0.0030, FailureKind.UNCERTAIN),
    (0.0015, FailureKind.CONTENT),
    (0.0005, FailureKind.SENDER),
    (0.0005, FailureKind.TOO_LARGE),
    (0.0005, FailureKind.UNKNOWN),
    (0.0001, FailureKind.QUOTA),
)
"""How often a provider at work answers with each kind."""

CODES = {FailureKind.RECIPIENT: "5.1.1", FailureKind.DEFERRED: "4.2.1", FailureKind.CONTENT: "5.6.0"}


class Providers:
    """Answer, each with outages of its own."""

    def __init__(self, chance: Random, *, days: int) -> None:
        self._outages = {name: list(_outages(chance, days)) for name in SETTINGS.providers}
        self._begins = {name: [one.begins for one in found] for name, found in self._outages.items()}

    def outages(self) -> list[datetime]:
        """When providers go down."""
        return sorted(at for begins in self._begins.values() for at in begins)

    def answer(self, name: str, now: datetime, recipients: tuple[int, ...], chance: Random) -> Outcome:
        """What becomes of an attempt."""
        outage = self._outage(name, now)
        if outage is not None and chance.random() < 0.95:
            return _refusal(outage.kind, recipients, chance)
        drawn = chance.random()
        for share, kind in RARE:
            drawn -= share
            if drawn < 0:
                return _refusal(kind, recipients, chance)
        message_id = f"{chance.getrandbits(64):016x}"
        if len(recipients) > 1 and chance.random() < 0.1:
            return _partly(recipients, message_id, chance)
        return Accepted(accepted=recipients, message_id=message_id, code="250")

    def _outage(self, name: str, now: datetime) -> Outage | None:
        index = bisect_right(self._begins[name], now) - 1
        return self._outages[name][index] if index >= 0 and now < self._outages[name][index].ends else None


def takes_s(outcome: Outcome, chance: Random) -> float:
    """How long the provider takes to answer."""
    if isinstance(outcome, Unanswered):
        return chance.uniform(20, 30)
    return min(10.0, chance.lognormvariate(-1.6, 0.6))


def _outages(chance: Random, days: int) -> list[Outage]:
    found, at = [], T0
    while at < T0 + days * DAY:
        at += timedelta(seconds=chance.expovariate(1 / OUTAGE_EVERY_S))
        ends = at + timedelta(seconds=chance.uniform(180, 2400))
        found.append(Outage(at, ends, chance.choice(OUTAGE_KINDS)))
        at = ends
    return found


def _refusal(kind: FailureKind, recipients: tuple[int, ...], chance: Random) -> Outcome:
    code = CODES.get(kind, "")
    if kind is FailureKind.UNCERTAIN:
        return Unanswered(code="timeout", detail="no answer in time")
    if kind is FailureKind.RECIPIENT:
        first, *others = recipients
        if others:
            return Accepted(
                accepted=tuple(others), refused=(Refusal(index=first, code=code),), message_id="", code="250"
            )
        return NotAccepted(kind=kind, code=code, refused=(Refusal(index=first, code=code),))
    if kind is FailureKind.DEFERRED:
        return NotAccepted(kind=kind, code=code, detail="greylisted", deferred=recipients)
    after_s = chance.uniform(5, 60) if kind is FailureKind.THROTTLED else None
    return NotAccepted(
        kind=kind, code=code or "4.3.2", detail=f"{kind.value}: not now", retry_after_s=after_s
    )


def _partly(recipients: tuple[int, ...], message_id: str, chance: Random) -> Accepted:
    accepted = recipients[: chance.randrange(1, len(recipients))]
    rest = recipients[len(accepted) :]
    refused = tuple(Refusal(index=one, code="5.1.1") for one in rest if chance.random() < 0.3)
    deferred = tuple(one for one in rest if one not in {other.index for other in refused})
    return Accepted(accepted=accepted, refused=refused, deferred=deferred, message_id=message_id, code="250")


def feedback(chance: float, at: datetime, attempt: int, recipient: int) -> Iterator[Feedback]:
    """What a provider tells later of a recipient it accepted an email for."""
    if chance < 0.01:
        yield Bounced(attempt=attempt, recipient=recipient, permanent=True, code="5.1.1", observed_at=at)
        return
    yield Delivered(attempt=attempt, recipient=recipient, observed_at=at)
    if 0.5 < chance < 0.7:
        yield Opened(attempt=attempt, recipient=recipient, observed_at=at)
    if 0.6 < chance < 0.65:
        yield Clicked(attempt=attempt, recipient=recipient, observed_at=at)
    if 0.7 < chance < 0.702:
        yield Complained(attempt=attempt, recipient=recipient, observed_at=at)
