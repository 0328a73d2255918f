"""What numbers say about the health of a service: pure judgements, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from application.doctor import Finding, failed, passed, warned
from application.ports import Lease
from application.queries import ProviderStatus, provider_status
from application.reports import BEHIND_ALERT_S, Lag
from application.sentences import clock, length
from application.settings import Settings
from application.standing import COUNTED_MAX, LATE_AFTER, Standing
from domain.circuit import Phase
from domain.routing import Priority

WAITED_TOO_LONG: Mapping[Priority, timedelta] = {
    Priority.HIGH: timedelta(minutes=1),
    Priority.NORMAL: timedelta(minutes=15),
    Priority.BULK: timedelta(hours=6),
}
"""Longer than backoff and a provider's short pauses; limits may well make bulk mail wait for hours."""

CLOCKS_APART_WARN, CLOCKS_APART_FAIL = timedelta(seconds=2), timedelta(seconds=60)
"""Acceptance and expiry go by this machine's clock, the queue by the database's: a minute is a code's whole life."""

TIMER_APART_S = 0.5

FREE_WARN_OCTETS, FREE_FAIL_OCTETS, FREE_WARN_SHARE = 10**9, 10**8, 0.1

OWN_FILES = 100
"""Files and connections a process has open beside its providers' and its clients'."""
CLIENT_FILES = 300
"""Connections of clients, and what is left to spare."""

LISTED_MAX = 3
"""Names that a finding repeats."""


def judge_queue(standing: Standing, settings: Settings) -> list[Finding]:
    """Overdue, waiting too long, held, in doubt; and the providers that are not in use."""
    return [
        _overdue(standing.overdue),
        _waiting(standing),
        _held(standing.held),
        _uncertain(standing.uncertain),
        _circuits(standing, settings),
    ]


def _overdue(count: int) -> Finding:
    if not count:
        return passed("overdue", "no email is past its deadline")
    seconds = f"{LATE_AFTER.total_seconds():.0f} s"
    return failed(
        "overdue",
        f"{_emails(count)} past the deadline by more than {seconds}, and nothing was decided",
        "see that a worker runs (`stagepost serve`, or `stagepost worker`), and what its log says",
    )


def _waiting(standing: Standing) -> Finding:
    ages = {priority: standing.now - since for priority, since in sorted(standing.oldest.items())}
    told = ", ".join(f"{priority.name.lower()} for {length(age)}" for priority, age in ages.items())
    late = [priority for priority, age in ages.items() if age > WAITED_TOO_LONG[priority]]
    if not late:
        return passed("waiting", f"the longest waiting are due: {told}" if told else "no email is due")
    return warned(
        "waiting",
        f"the longest waiting are due: {told}",
        "`stagepost providers list` shows circuits and limits; `stagepost explain ID` says why one waits",
    )


def _held(count: int) -> Finding:
    if not count:
        return passed("held", "no email waits for an operator")
    return warned(
        "held",
        f"{_emails(count)} waiting for an operator, until they expire",
        "GET /statuses?status=held lists them; `stagepost explain ID`, then `stagepost retry ID` or `cancel ID`",
    )


def _uncertain(count: int) -> Finding:
    if not count:
        return passed("uncertain", "no email is in doubt")
    return warned(
        "uncertain",
        f"{_emails(count)} that may or may not have been sent, waiting for evidence",
        "nothing, if there are few: each is decided at its time, by [uncertain] policy; else look at the providers",
    )


def _circuits(standing: Standing, settings: Settings) -> Finding:
    known = settings.providers.values()
    statuses = [provider_status(one, standing.gates, settings, standing.now) for one in known]
    unfit = [(one.name, why) for one in statuses if (why := _unfit(one))]
    if not unfit:
        return passed("circuits", "every provider is in use")
    told = ", ".join(f"{name} {why}" for name, why in unfit)
    if len(unfit) == len(statuses):
        return failed(
            "circuits", f"no provider is in use: {told}", "`stagepost providers test NAME` says why"
        )
    return warned(
        "circuits",
        told,
        "`stagepost providers test NAME`; `stagepost providers resume NAME` where it was paused",
    )


def _unfit(one: ProviderStatus) -> str:
    if one.paused:
        return "is paused"
    if one.circuit is Phase.OPEN:
        return (
            f"has its circuit open until {clock(one.open_until)}"
            if one.open_until
            else "has its circuit open"
        )
    return "is being probed" if one.circuit is Phase.HALF_OPEN else ""


def judge_workers(leases: Sequence[Lease], dead: Sequence[Lease], *, waits: bool) -> Finding:
    """`dead`: those of the leases whose worker gave no sign of life in time. `waits`: an email is due."""
    alive = len(leases) - len(dead)
    if dead:
        told = ", ".join(one.worker for one in dead[:LISTED_MAX]) + (" …" if len(dead) > LISTED_MAX else "")
        return warned(
            "workers",
            f"{alive} alive; ended without an orderly stop: {told}",
            "nothing, if a worker runs or is started: it takes over, and what was under way is uncertain",
        )
    if alive:
        return passed("workers", f"{alive} alive")
    if waits:
        return warned(
            "workers", "none is alive, and emails are due", "run `stagepost serve` or `stagepost worker`"
        )
    return passed("workers", "none is alive, and nothing waits for one")


def judge_lag(lag: Lag) -> Finding:
    """How far the reports are behind the log."""
    told = f"{lag.events} events behind, the first of them {lag.seconds:.0f} s old"
    if lag.seconds > BEHIND_ALERT_S:
        return warned("reports", told, "a running `serve` or `worker` brings them up to date: see its log")
    return passed("reports", told if lag.events else "up to date")


def judge_clock(
    apart: timedelta, within: timedelta, last_event_at: datetime | None, now: datetime
) -> Finding:
    """`apart`: how far the database's clock is ahead of ours, known to `within`; `now` is the database's."""
    off = max(timedelta(0), abs(apart) - within)
    told = f"{length(off)} apart from the database's"
    if last_event_at is not None and last_event_at > now + CLOCKS_APART_WARN:
        ahead = length(last_event_at - now)
        return warned(
            "clock",
            f"the last event is {ahead} ahead of the database's clock: it was set back",
            "synchronise clocks (NTP); what is due waits until its time comes again",
        )
    if off > CLOCKS_APART_FAIL:
        return failed("clock", told, "synchronise the clocks of both machines (NTP)")
    if off > CLOCKS_APART_WARN:
        return warned("clock", told, "synchronise the clocks of both machines (NTP)")
    return passed(
        "clock", "agrees with the database's" if within or apart else "the database's is this machine's"
    )


def judge_timer(asked_s: float, *, steady_s: float, wall_s: float) -> Finding:
    """A pause of `asked_s`, as the steady clock and as the clock on the wall saw it."""
    if steady_s < asked_s / 2:
        told = (
            f"the steady clock stands still: {steady_s * 1000:.0f} ms in a pause of {asked_s * 1000:.0f} ms"
        )
        return failed("timer", told, "look for what fakes or freezes time here: leases and timeouts go by it")
    if abs(wall_s - steady_s) > TIMER_APART_S:
        told = f"in a pause of {asked_s * 1000:.0f} ms the clock went {wall_s - steady_s:+.1f} s"
        return warned("timer", told, "see what sets the clock; NTP should slew it instead")
    return passed("timer", "the steady clock and the clock go alike")


def judge_disk(name: str, folder: str, *, free: int, total: int) -> Finding:
    """Octets that are free where `folder` lies."""
    told = f"{_size(free)} free of {_size(total)} at {folder}"
    if free < FREE_FAIL_OCTETS:
        return failed(name, told, "make room now: when it is full nothing is accepted any more")
    if free < FREE_WARN_OCTETS or free < FREE_WARN_SHARE * total:
        return warned(name, told, "make room; `[retention] content` says how long content is kept")
    return passed(name, told)


def judge_files(limit: int, concurrency: int) -> Finding:
    """`limit`: files a process started from here may have open. `concurrency`: of all providers."""
    needs = concurrency + OWN_FILES
    told = f"a process started from here may have {limit} open; the providers' concurrency is {concurrency}"
    if limit < needs:
        return failed(
            "open files", told, f"raise it to {needs + CLIENT_FILES} or more (ulimit -n, LimitNOFILE)"
        )
    if limit < needs + CLIENT_FILES:
        to_do = f"raise it to {needs + CLIENT_FILES} (ulimit -n, LimitNOFILE), or clients may be turned away"
        return warned("open files", told, to_do)
    return passed("open files", told)


def _emails(count: int) -> str:
    if count >= COUNTED_MAX:
        return f"{COUNTED_MAX} emails or more"
    return "1 email" if count == 1 else f"{count} emails"


def _size(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB" if octets >= 10**9 else f"{octets / 1e6:.0f} MB"
