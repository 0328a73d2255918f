"""The scenario: hosts, load, what goes wrong meanwhile, and what has to be true afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import forkserver
from pathlib import Path

from adapters.sql.migrate import migrate
from tests.entrypoints.cli_process import call
from tests.faults.audit import SETTLED, Counted, audit, statuses
from tests.faults.children import nursery
from tests.machines.clients import Answers, Clients, Orders
from tests.machines.fleet import TOKEN, Fleet, configure, fleet, is_worker, url
from tests.machines.measured import Measured, Moments, measure
from tests.machines.network import Network, network
from tests.machines.plan import SLOW_S, Kind, Mix, Strike, draw
from tests.machines.provider import Provider
from tests.machines.servers import Server, prepare

APIS = ("api-1", "api-2")
PAUSE_S = 0.01
"""So long the provider takes for a message, so that there is always one in flight."""

NOTICED_S = 1.0
"""So long an operator, or his machinery, takes to see that the primary is dead."""

SPREAD_FROM, EVENNESS_MIN = 100, 0.5
"""While all is well no worker has less than half of the mean, where the mean is more than a few attempts."""

STANDS_STILL_MAX_S = 90.0
VERIFIED_MAX_S = 900.0
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What to play. `unplugged`: the primary's host goes with it, so that no connection is told of its end."""

    emails: int
    per_second: float
    seed: int
    mix: Mix
    workers: int = 4
    clients: int = 16
    lease_s: float = 6.0
    unplugged: bool = False

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(f"worker-{n}" for n in range(1, self.workers + 1))

    def strikes(self) -> tuple[Strike, ...]:
        """What goes wrong."""
        return draw(
            self.seed,
            self.emails,
            mix=self.mix,
            workers=self.worker_names,
            apis=APIS,
            lease_s=self.lease_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What happened, what the clients were told, what was counted, and what was measured."""

    strikes: Counter[str]
    answers: Answers
    counted: Counted
    measured: Measured
    revived: int
    """Processes that had no database as they began, and were started once more."""


@dataclass(slots=True)
class Stage:
    """All that runs."""

    scenario: Scenario
    network: Network
    primary: Server
    standby: Server
    provider: Provider
    fleet: Fleet
    say: Say
    moments: Moments = field(default_factory=Moments)
    healings: dict[str, threading.Timer] = field(default_factory=dict)
    """What is cut or slow just now, by its host."""

    @property
    def database(self) -> Server:
        """Whichever takes writes."""
        return self.primary if self.moments.killed_at is None else self.standby

    def strike(self, what: Strike) -> None:
        """Do it."""
        self.say(str(what))
        match what.kind:
            case Kind.KILL:
                dead = self.fleet.kill(what.host)
                if is_worker(what.host):
                    self.moments.dead[dead] = datetime.now(UTC)
            case Kind.CUT_DATABASE:
                self._cut(what, "primary", "standby")
            case Kind.CUT_PROVIDER:
                self._cut(what, "provider")
            case Kind.SLOW_PROVIDER:
                self._slow(what)
            case Kind.ROLLING:
                self._restart_all()
            case Kind.FAILOVER:
                self._fail_over()

    def healed(self, *names: str) -> None:
        """Wait until nothing is cut or slow any more, at these hosts or at all."""
        for name in names or list(self.healings):
            if name in self.healings:
                self.healings.pop(name).join()

    def _cut(self, what: Strike, *others: str) -> None:
        self.healed(what.host)  # or what is cut twice is mended too early
        hosts = self.network.hosts
        for other in others:
            self.network.cut(hosts[what.host], hosts[other])

        def mend() -> None:
            for other in others:
                self.network.mend(hosts[what.host], hosts[other])

        self._later(what, mend)

    def _slow(self, what: Strike) -> None:
        self.healed(what.host)
        self.provider.pause(SLOW_S)
        self._later(what, lambda: self.provider.pause(PAUSE_S))

    def _later(self, what: Strike, do: Callable[[], None]) -> None:
        self.healings[what.host] = timer = threading.Timer(what.lasts_s, do)
        timer.daemon = True
        timer.start()

    def _restart_all(self) -> None:
        self.healed()
        codes = {name: self.fleet.restart(name) for name in (*APIS, *self.scenario.worker_names)}

        assert {0} == set(codes.values()), codes

    def _fail_over(self) -> None:
        self.moments.killed_at = datetime.now(UTC)
        self.moments.killed_at_s = time.monotonic()
        self.primary.kill(unplugged=self.scenario.unplugged)
        time.sleep(NOTICED_S)
        self.standby.promote()
        self.moments.promoted_at = datetime.now(UTC)
        self.moments.promoted_at_s = time.monotonic()


def play(folder: Path, scenario: Scenario, say: Say = print) -> Played:
    """Play it, let everything settle, check it all. Raises NoNetwork where this machine can't."""
    began = time.monotonic()

    def said(what: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {what}")

    with stage(folder, scenario, said) as made:
        answers = _under_load(made)
        left = sum(n for status, n in statuses(made.database.url).items() if status not in SETTLED)
        said(f"all acknowledged: {answers.told}; {left} have not ended")
        drained(made)
        ended_at_s = time.monotonic()
        codes = made.fleet.stop()

        assert {0} == set(codes.values()), {
            name: made.fleet.said(name) for name, code in codes.items() if code
        }
        broken = [one for one in made.fleet.ended_by_themselves if one.began or one.code != 1]

        assert [] == broken
        said("drained and stopped; auditing")
        control = folder / APIS[0]
        copies = made.provider.copies()
        counted = audit(control, made.database.url, answers.told, copies, VERIFIED_MAX_S)

        assert scenario.emails == counted.emails == sum(statuses(made.database.url).values())
        measured = measure(made.database.url, made.fleet.workers, made.moments, answers, ended_at_s)
        few = sum(measured.spread.values()) < SPREAD_FROM * len(measured.spread)

        assert few or measured.evenness >= EVENNESS_MIN, measured.spread
        return Played(
            strikes=Counter(_sort(one) for one in scenario.strikes()),
            answers=answers,
            counted=counted,
            measured=measured,
            revived=len(made.fleet.ended_by_themselves),
        )


@contextmanager
def stage(folder: Path, scenario: Scenario, say: Say) -> Iterator[Stage]:
    """Every host, and what runs on it."""
    with ExitStack() as up:
        names = ("primary", "standby", "provider", "clients", *APIS, *scenario.worker_names)
        wires = up.enter_context(network(*names))
        prepare()
        nursery()
        forkserver.ensure_running()  # it imports while PostgreSQL is made
        folder.chmod(0o755)
        data = folder / "postgresql"
        data.mkdir()
        data.chmod(0o777)
        hosts = wires.hosts
        primary, standby = (Server(wires, hosts[name], data) for name in ("primary", "standby"))
        up.callback(primary.kill)
        up.callback(standby.kill)
        primary.initialise()
        standby.follow(primary)
        migrate(primary.url)
        provider = Provider(hosts["provider"], PAUSE_S)
        up.callback(provider.kill)
        sending = [hosts[name] for name in (*APIS, *scenario.worker_names)]
        for host in sending:
            databases = (hosts["primary"], hosts["standby"])
            if is_worker(host.name):  # they have to pass the standby by
                databases = (hosts["standby"], hosts["primary"])
            configure(folder, host, databases, hosts["provider"], scenario.lease_s)
        processes = up.enter_context(fleet(folder, *sending))
        made = Stage(scenario, wires, primary, standby, provider, processes, say)
        up.callback(made.healed)
        say(f"up: {', '.join(names)}")
        yield made


def _under_load(made: Stage) -> Answers:
    """Send all emails, and do what is planned meanwhile."""
    scenario, hosts = made.scenario, made.network.hosts
    orders = Orders(
        urls=tuple(url(hosts[name]) for name in APIS),
        token=TOKEN,
        emails=scenario.emails,
        per_second=scenario.per_second,
        clients=scenario.clients,
    )
    with closing(Clients(hosts["clients"], orders)) as clients:
        made.moments.began_at_s = time.monotonic()
        made.moments.calm.append([datetime.now(UTC), None])
        for strike in scenario.strikes():
            _wait_for(clients, strike.at)
            made.moments.end_calm(datetime.now(UTC))
            made.strike(strike)
        made.healed()
        settled_from = clients.acknowledged + int(scenario.lease_s * scenario.per_second)
        _wait_for(clients, min(settled_from, scenario.emails))
        made.moments.calm.append([datetime.now(UTC), None])
        answers = clients.answers()
        made.moments.end_calm(datetime.now(UTC))

    assert [] == answers.wrong
    return answers


def _wait_for(clients: Clients, acknowledged: int) -> None:
    seen, changed_at = -1, time.monotonic()
    while clients.is_alive and clients.acknowledged < acknowledged:
        if clients.acknowledged != seen:
            seen, changed_at = clients.acknowledged, time.monotonic()

        assert time.monotonic() - changed_at < STANDS_STILL_MAX_S, f"nothing is acknowledged any more: {seen}"
        time.sleep(0.02)


def drained(made: Stage) -> None:
    """Wait until all emails have ended; what is held, an operator lets go."""
    before: dict[str, int] = {}
    changed_at = time.monotonic()
    api = url(made.network.hosts[APIS[0]])
    while True:
        now = statuses(made.database.url)
        if now != before:
            before, changed_at = now, time.monotonic()

        assert time.monotonic() - changed_at < STANDS_STILL_MAX_S, now
        if not any(status not in SETTLED for status in now):
            if not now.get("held"):
                return
            made.say(f"an operator lets {now['held']} go")
            _release(api)
        time.sleep(0.2)


def _release(api: str) -> None:
    """Take the risk for all that are held."""
    while held := call(f"{api}/statuses?status=held&limit=100", headers=ADMIN)[1]["data"]:
        for one in held:
            risk = b'{"accept_duplicate_risk": true}'
            code, _ = call(f"{api}/emails/{one['id']}/retry", risk, headers=ADMIN)

            assert code == 200, (code, one)


def _sort(strike: Strike) -> str:
    where = strike.host.partition("-")[0]
    return f"{where}: {strike.kind}"
