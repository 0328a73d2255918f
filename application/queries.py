"""What readers are told: the status of emails and of providers, as of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from application.projections.emails import Status
from application.projections.gates import Gate, opening, openings, provider_gate, shared_room
from application.sentences import PASSED, clock
from application.settings import ProviderSettings, Settings
from domain.circuit import Phase
from domain.routing import Blocked, Lane, walk

PAGE_MAX = 100
PAGE_DEFAULT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt of an email, as `attempts` has it. `outcome`: open, sent, partly_sent, failed or uncertain."""

    attempt: int
    provider: str
    outcome: str
    kind: str | None
    code: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One email, as `emails` has it.

    `id` is the client's (taken from the content store where the log only has its digest). `recipients`: the
    outcome of each, by index. `lane` is none unless the email waits for an attempt; `next_at`: when something
    happens to it at the earliest, none where that isn't known or nothing will. `erased`: its content is gone.
    """

    id: str
    email_id: str
    status: Status
    provider: str | None
    attempts: tuple[AttemptRow, ...]
    recipients: tuple[str, ...]
    requested_at: datetime
    updated_at: datetime
    route: str
    lane: str | None
    next_at: datetime | None
    erased: bool = False


@dataclass(frozen=True, slots=True)
class PageKey:
    """Where a page ended: rows behind it are older, or as old with a smaller id."""

    requested_at: datetime
    email_id: str


class StatusReader(Protocol):
    """Reads the inline views. Blocks; never writes; sees committed rows only. Raises StoreUnavailable."""

    def find(self, email_ids: Sequence[str], now: datetime) -> list[StatusRow]:
        """The rows of these emails, in the order asked for; absent ones are left out.

        `next_at` is `due_at` where the email waits in a lane, else its next deadline. An email that is stored
        as `scheduled` reads as `queued` once `due_at` is not in the future; so do filters of `page`.
        """

    def page(
        self,
        *,
        now: datetime,
        limit: int,
        status: Status | None = None,
        provider: str | None = None,
        before: PageKey | None = None,
    ) -> list[StatusRow]:
        """Up to `limit` rows, newest request first, behind `before`."""

    def gates(self) -> Mapping[str, Gate]:
        """Every gate as committed, by name."""


def why_it_waits(lane: Lane, gates: Mapping[str, Gate], settings: Settings, now: datetime) -> str:
    """What keeps an email of this lane from its next attempt, provider by provider; empty: nothing does."""
    room, until = shared_room(gates, settings, lane.route, now)
    if room == 0:
        return "the limit of the route or the service" + _until(until)
    seen = openings(gates, settings, lane.route, now)
    found = walk(seen, lane, settings.route(lane.route).on_limit)
    if found.chosen is not None:
        return ""
    ends = {one.provider: one.until for one in seen}
    return ", ".join(
        f"{one.provider} ({PASSED[one.reason]}{_until(ends[one.provider])})"
        for one in found.passed_over
        if one.reason != Blocked.BOUND_ELSEWHERE
    )


def _until(at: datetime | None) -> str:
    return "" if at is None else f" until {clock(at)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """One rate of a provider, and what counts against it now."""

    rate: str
    used: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """A provider and its gate as they stand now."""

    name: str
    type: str
    circuit: Phase
    paused: bool
    open_until: datetime | None
    not_before: datetime | None
    open_attempts: int
    limits: tuple[LimitUse, ...]


def with_next_at(row: StatusRow, gates: Mapping[str, Gate], settings: Settings, now: datetime) -> StatusRow:
    """The row with `next_at` put off to when a provider of its lane may be free again."""
    if row.lane is None or row.next_at is None:
        return row
    lane = Lane.parse(row.lane)
    at = max(row.next_at, now) if row.next_at <= now else row.next_at
    room, until = shared_room(gates, settings, lane.route, now)
    found = walk(openings(gates, settings, lane.route, now), lane, settings.route(lane.route).on_limit)
    if room == 0 and until is not None:
        at = max(at, until)
    elif found.chosen is None and found.until is not None:
        at = max(at, found.until)
    elif found.chosen is None and all(one.reason != Blocked.AT_LIMIT for one in found.passed_over):
        return replace(row, next_at=None)  # paused: an operator knows until when, and nobody else
    return replace(row, next_at=at)


def provider_status(
    provider: ProviderSettings, gates: Mapping[str, Gate], settings: Settings, now: datetime
) -> ProviderStatus:
    """How a provider stands. A circuit whose open time is over reads as half open: the next attempt probes."""
    name = provider_gate(provider.name)
    gate = gates.get(name) or Gate(name=name)
    seen = opening(gate, provider, settings.circuit, now)
    circuit = gate.circuit
    phase = Phase.HALF_OPEN if circuit.phase is Phase.OPEN and seen.probe is not None else circuit.phase
    limits = []
    for rate in provider.rates:
        used = gate.used(rate, now)
        limits.append(LimitUse(rate=str(rate), used=used, remaining=max(0, rate.limit - used)))
    future = gate.not_before if gate.not_before is not None and gate.not_before > now else None
    return ProviderStatus(
        name=provider.name,
        type=provider.type,
        circuit=phase,
        paused=circuit.paused,
        open_until=circuit.until if phase is Phase.OPEN else None,
        not_before=future,
        open_attempts=gate.open_attempts,
        limits=tuple(limits),
    )
