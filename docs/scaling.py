"""Makes the tables of docs/scaling.md anew from what was measured, which stands here: `python -m docs.scaling`.

Everything is for emails of 1 KB text to one recipient, with 3.2 events each: one first attempt in ten fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

FILE = Path(__file__).with_suffix(".md")
MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Measured 2026-11-24 on PostgreSQL 18.4, two cores that others used as well: `python -m benchmarks.growth`, 100,000
# emails into an empty database. Octets an email, dead rows of the moment included.
OCTETS = {
    "events": (1831, {"stream, version": 289, "event_id": 182, "position": 71}),
    "contents": (1366, {"email_id": 78}),
    "emails": (
        349,
        {"status": 275, "newest": 135, "waiting": 130, "provider": 110, "email_id": 91, "deadline": 55},
    ),
    "attempts": (196, {"email_id, attempt": 121, "open": 7}),
}
BY_CHANCE = (289, 91, 121, 78)
"""Of these, the indexes whose keys are ids by chance: each email is on other pages than the one before."""

ERASED = ("contents",)
"""What retention deletes, 30 days after the end by default."""

PASSING = ("waiting", "deadline", "open")
"""Indexes of what waits or is under way: vacuum gives their room back, so that they don't grow."""

# The same, 3,000 emails behind a log of 3·10⁶ events and a checkpoint. The least is what 100,000 emails into an
# empty database wrote.
WAL_LEAST, WAL_MOST = 9_400, 34_000
PAGES = 4
"""Pages by chance: written to the WAL as a whole after each checkpoint, and read where memory lacks them."""

# Measured 2026-11-24, SQLite, one process (docs/performance.md): seconds of processor time.
ACCEPT_S, BOTH_S = 0.44e-3, 1.4e-3
# Measured 2026-11-24, all of PostgreSQL's processes, groups of 25 and 50, behind 3·10⁶ events: the same.
SERVER_S = 0.39e-3
# The same: one client's claiming and recording, of which all workers together do one at a time (seconds).
ROUND_S = 0.56e-3

# On paper.
KEPT_DAYS = 30
PEAK = 10
"""How many times the mean the busiest moment is."""
BUSY = 0.6
"""How busy a process may be at the peak, to answer quickly."""
SMTP_S = 0.5
"""How long a provider takes for one email."""
CONNECTIONS = 17
"""Of a process to PostgreSQL at most: the pool, what comes on top, and the one that listens."""
NETWORK = {
    "clients to us": 1_800,
    "us to PostgreSQL": 7_000,
    "PostgreSQL to us": 3_000,
    "us to providers": 1_900,
}
"""Octets an email."""

SCALES = (1_000_000, 10_000_000)
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Day:
    """So many emails a day."""

    emails: int

    @property
    def mean(self) -> float:
        """Emails a second."""
        return self.emails / DAY_S

    @property
    def peak(self) -> float:
        """Emails a second, at the busiest."""
        return self.mean * PEAK

    def cores(self, seconds: float) -> float:
        """Cores that so many seconds an email take at the peak."""
        return self.peak * seconds

    def processes(self, seconds: float) -> int:
        """Processes of one interpreter each for it; two at least, for one may be away."""
        return max(2, ceil(self.cores(seconds) / BUSY))


def parts() -> Iterator[tuple[str, str, int]]:
    """Each table, and with a name each index of it: its octets an email."""
    for name, (heap, indexes) in OCTETS.items():
        yield name, "", heap
        for index, of in indexes.items():
            yield name, index, of


def octets(*, for_good: bool = False) -> int:
    """An email's, in all tables and indexes; `for_good`: without what is erased or passes."""
    return sum(
        of for name, index, of in parts() if not for_good or (name not in ERASED and index not in PASSING)
    )


def size(value: float) -> str:
    """Octets as people say them."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Rows as Markdown has them."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def room() -> str:
    """What each table and index grows by."""

    def row(name: str, index: str, of: int) -> tuple[str, ...]:
        said = f"its index, {index}" if index else f"`{name}`"
        a_day = tuple(size(of * day) for day in SCALES)
        days = 0 if index in PASSING else KEPT_DAYS if name in ERASED else 365
        return (said, str(of), *a_day, *(size(of * day * days) if days else "little" for day in SCALES))

    def rows() -> Iterator[tuple[str, ...]]:
        yield from (row(*one) for one in parts())
        yield ("together", str(octets()), *(size(octets() * day) for day in SCALES), "", "")
        stays = octets(for_good=True)
        a_day, a_year = ([size(stays * day * days) for day in SCALES] for days in (1, 365))
        yield ("of that for good", str(stays), *a_day, *a_year)

    a_day = (f"a day of {day // 10**6} million" for day in SCALES)
    a_year = (f"a year of {day // 10**6} million" for day in SCALES)
    return table(("", "octets an email", *a_day, *a_year), rows())


def load() -> str:
    """What has to be there for so many emails a day."""
    days = [Day(emails) for emails in SCALES]
    random = sum(BY_CHANCE)

    def row(name: str, of: Callable[[Day], str]) -> tuple[str, ...]:
        return (name, *(of(day) for day in days))

    def rows() -> Iterator[tuple[str, ...]]:
        yield row("emails a second: mean, peak", lambda day: f"{day.mean:.0f}, {day.peak:.0f}")
        yield row("events a day (rows of the log)", lambda day: f"{day.emails * 3.2 / 1e6:.1f} million")
        yield row("WAL a day", lambda day: f"{size(day.emails * WAL_LEAST)} to {size(day.emails * WAL_MOST)}")
        yield row(
            "WAL a second at the peak",
            lambda day: f"{size(day.peak * WAL_LEAST)} to {size(day.peak * WAL_MOST)}",
        )
        yield row(
            "pages by chance at the peak: reads and writes a second, once memory lacks them",
            lambda day: f"{day.peak * PAGES:,.0f} and {day.peak * PAGES:,.0f}",
        )
        yield row("those indexes grow a day", lambda day: size(day.emails * random))
        yield row("so they have filled 32 GB after", lambda day: f"{32e9 / (day.emails * random):.0f} days")
        yield row(
            "commits a second at the peak, at most (nothing gathers)", lambda day: f"{day.peak * 3:,.0f}"
        )
        yield row("the same with 25 accepted, 50 claimed at a time", lambda day: f"{day.peak * 0.063:,.0f}")
        yield row("cores of PostgreSQL at the peak", lambda day: f"{day.cores(SERVER_S):.2f}")
        yield row("cores of API processes at the peak", lambda day: f"{day.cores(ACCEPT_S):.2f}")
        yield row("cores of workers at the peak", lambda day: f"{day.cores(BOTH_S - ACCEPT_S):.2f}")
        yield row("`serve --no-worker` processes", lambda day: str(day.processes(ACCEPT_S)))
        yield row("`worker` processes", lambda day: str(day.processes(BOTH_S - ACCEPT_S)))
        yield row("how busy the workers' turns are at the peak", lambda day: f"{day.cores(ROUND_S):.0%}")
        yield row(
            f"attempts at the same time, a provider taking {SMTP_S:g} s: mean, peak",
            lambda day: f"{ceil(day.mean * SMTP_S)}, {ceil(day.peak * SMTP_S)}",
        )
        yield row(
            "connections to PostgreSQL, at most",
            lambda day: str(CONNECTIONS * (day.processes(ACCEPT_S) + day.processes(BOTH_S - ACCEPT_S))),
        )
        for name, of in NETWORK.items():
            yield row(f"network, {name}, at the peak", lambda day, of=of: f"{size(day.peak * of)}/s")  # type: ignore[misc]

    return table(("", *(f"{day:,} a day" for day in SCALES)), rows())


PARTS: dict[str, Callable[[], str]] = {"room": room, "load": load}


def made(page: str) -> str:
    """The page with its tables as they are today."""
    return MADE.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], page)


if __name__ == "__main__":
    FILE.write_text(made(FILE.read_text(encoding="utf-8")), encoding="utf-8")
    print(FILE, file=sys.stderr)
