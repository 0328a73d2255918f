"""A round of the torture: so many strikes under load at random moments, then everything has to come out right."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.audit import Counted, settle
from tests.faults.cluster import Cluster, cluster, settled
from tests.faults.load import Acknowledged, Load
from tests.faults.proxy import Fate, PostgresProxy, Rule, always
from tests.support.smtp_script import At, Do, Plan, Turn, say, slow, take_and_drop
from tests.support.smtp_server import ScriptedSmtpServer

LEASE_S = 1.5
EARLY_SHARE, EARLY_S_MAX = 0.25, 0.4
"""So many strikes come soon after the last one: some of them before anybody is ready."""

EMAILS_MAX = 50
"""The others come after up to so many emails more."""

ALL_SHARE, FREEZE_SHARE, STOP_SHARE = 0.15, 0.03, 0.07
"""Of the strikes, so many hit everybody at once, are SIGSTOP past the lease, or an orderly SIGTERM."""

LOST_SHARE, REFUSED_SHARE = 0.02, 0.02
"""Of the messages, so many are taken without an answer, or put off."""

CUT_SHARE = 0.01
"""Of the COMMITs to PostgreSQL, so many never arrive, and as many are never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What was done, what the clients were told, and what was counted."""

    strikes: Counter[str]
    fates: Counter[Fate]
    told: Acknowledged
    counted: Counted

    @property
    def kills(self) -> int:
        return self.strikes["kill -9"] + self.strikes["kill -9 of all"]

    def __str__(self) -> str:
        done = [f"{n} × {what}" for what, n in sorted(self.strikes.items())]
        done += [f"{n} COMMITs {fate}" for fate, n in self.fates.items() if fate is not Fate.PASS]
        return f"{', '.join(done)}: {self.told}; {self.counted}"


def live_through(
    folder: Path,
    database: str,
    sink: ScriptedSmtpServer,
    *,
    seed: int,
    kills: int,
    proxy: PostgresProxy | None = None,
) -> Round:
    """Strike until so many were killed; let everything settle, and check it. `database`: empty, migrated.

    The moments are those of the seed; what they hit depends on how fast the machine is.
    """
    chance = random.Random(seed)
    strikes: Counter[str] = Counter()
    sink.script = whimsical(random.Random(seed + 1))
    through = database if proxy is None else proxy.url
    if proxy is not None:
        proxy.rule = cutting(random.Random(seed + 2), CUT_SHARE)
    with (
        cluster(folder, through, sink, lease=f"{LEASE_S}s") as running,
        Load(running.url, pause_s=0.01) as load,
    ):
        while strikes["kill -9"] + strikes["kill -9 of all"] < kills:
            live(load, chance)
            strikes[strike(running, chance)] += 1
        told = load.end()
        settle(database)
        if proxy is not None:
            proxy.rule = always
        sink.script = {}
        counted = settled(running, told, sink, ends_itself=proxy is not None)
    fates = Counter() if proxy is None else proxy.fates
    return Round(strikes=strikes, fates=fates, told=told, counted=counted)


def live(load: Load, chance: random.Random) -> None:
    """A while under load."""
    if chance.random() < EARLY_SHARE:
        time.sleep(chance.uniform(0, EARLY_S_MAX))
    else:
        load.wait_for(chance.randint(1, EMAILS_MAX))


def strike(running: Cluster, chance: random.Random) -> str:
    """Do something bad to some of them, and start them anew; what it was."""
    everyone = range(len(running.parts))
    drawn = chance.random()
    one: Sequence[int] = [chance.choice(everyone)]
    if drawn < FREEZE_SHARE:
        running.parts[one[0]].signal(signal.SIGSTOP)
        time.sleep(1.5 * LEASE_S)
        running.parts[one[0]].signal(signal.SIGCONT)
        return "SIGSTOP past the lease"
    if drawn < FREEZE_SHARE + STOP_SHARE:
        (code,) = running.stop(one)

        # As it began: without a database (1), or before it had said what a SIGTERM means.
        assert code in (0, 1, -signal.SIGTERM)
        return "SIGTERM"
    if drawn > 1 - ALL_SHARE and len(everyone) > 1:
        running.replace(everyone)
        return "kill -9 of all"
    running.replace(one)
    return "kill -9"


def whimsical(chance: random.Random) -> dict[At, Plan]:
    """A provider that takes its time, loses some answers, and puts some messages off."""

    def at_dot(_: Turn) -> Do:
        return take_and_drop() if chance.random() < LOST_SHARE else slow(0.02)

    def at_mail(_: Turn) -> Do | None:
        return say("451 4.3.0 Try again") if chance.random() < REFUSED_SHARE else None

    return {At.DOT: at_dot, At.MAIL: at_mail}


def cutting(chance: random.Random, share: float) -> Rule:
    """Cut so many COMMITs before they arrive, and as many behind."""

    def rule(_: bytes) -> Fate:
        drawn = chance.random()
        return Fate.CUT_BEFORE if drawn < share else Fate.CUT_AFTER if drawn < 2 * share else Fate.PASS

    return rule
