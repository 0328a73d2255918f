"""Where a simulation is put together: the use cases on virtual time, a store in memory and simulated providers.

Nothing here can send or keep anything: no adapter with a socket or a file is imported.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adapters.memory.passing_store import PassingEventStore
from adapters.providers.simulated import Copies, SimulatedProvider
from adapters.virtual import SeededIds, VirtualClock, inline, run_virtually
from application.accept import Acceptor
from application.committer import Committer
from application.dispatch import Dispatcher
from application.lease import LeaseKeeper
from application.logbook import Logbook
from application.lookups import Lookups
from application.recorded import Recorded
from application.settings import Settings
from application.simulate import Simulation, Told
from application.simulate_plain import Shortcut
from application.simulate_results import Results
from application.simulate_scenario import Luck, Scenario
from application.simulate_tally import Tally
from application.supervise import Supervisor
from entrypoints.config import Config
from entrypoints.config_schema import ProviderConfig, SmtpConfig

__all__ = ["SimulationFailed", "simulate"]

POLL_S = 60.0
"""Workers are told of everything; they look by themselves only to be sure."""


class SimulationFailed(RuntimeError):
    """A mistake of ours: something was logged that no scenario brings about."""


class _Silent:
    """A logger of nothing but errors, which are kept."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def info(self, word: str, **fields: Any) -> None:
        pass

    def warning(self, word: str, **fields: Any) -> None:
        pass

    def error(self, word: str, **fields: Any) -> None:
        told = (f"{key}={fields[key]}" for key in ("error", "where", "reason", "task") if key in fields)
        self.errors.append(" ".join((word, *told)))


def simulate(config: Config, scenario: Scenario, *, exact: bool, told: Told) -> Results:
    """Play the scenario with this configuration. With `exact` no email is spared the use cases.

    Raises SimulationFailed.
    """
    collecting = gc.isenabled()
    gc.disable()  # what is made here is over soon and holds no circles: looking for them is a third of the time
    try:
        return run_virtually(lambda clock: _play(config, scenario, clock, exact, told))
    finally:
        if collecting:
            gc.enable()


async def _play(config: Config, scenario: Scenario, clock: VirtualClock, exact: bool, told: Told) -> Results:
    settings, copies, logger = config.settings(), Copies(), _Silent()
    results = Results(begins=clock.now(), lasts=scenario.lasts)
    tally = Tally(results, settings)
    store = PassingEventStore(clock, settings.circuit, forgets=True)
    providers = _providers(config, settings, scenario, clock, copies)
    shortcut = Shortcut(
        gates=store, settings=settings, providers=providers, tally=tally, begins=results.begins
    )
    parts = _Parts(settings, store, clock, providers, tally, Logbook(logger))
    await parts.start(scenario.workers)
    try:
        await Simulation(
            scenario=scenario,
            settings=settings,
            clock=clock,
            store=store,
            acceptor=parts.acceptor,
            tally=tally,
            shortcut=None if exact else shortcut,
            wake=parts.wake,
            told=told,
        ).run()
    finally:
        await parts.stop()
    if logger.errors:
        raise SimulationFailed(logger.errors[0])
    results.duplicates = copies.duplicates
    return results


def _providers(
    config: Config, settings: Settings, scenario: Scenario, clock: VirtualClock, copies: Copies
) -> Mapping[str, SimulatedProvider]:
    begins, luck = clock.now(), Luck(scenario.seed)
    return {
        name: SimulatedProvider(
            name=name,
            type=one.type,
            key_ttl=one.key_ttl,
            timeout_s=_timeout_s(config.providers[name]),
            manner=scenario.manner(name),
            luck=luck,
            copies=copies,
            sleep=clock.sleep,
            seconds=lambda: (clock.now() - begins).total_seconds(),
        )
        for name, one in settings.providers.items()
    }


def _timeout_s(provider: ProviderConfig) -> float:
    """How long an answer is waited for: on SMTP that is the reply after the final dot."""
    waits = provider.final_timeout if isinstance(provider, SmtpConfig) else provider.timeout
    return waits.total_seconds()


class _Parts:
    """The use cases, wired together as for a service."""

    def __init__(
        self,
        settings: Settings,
        store: PassingEventStore,
        clock: VirtualClock,
        providers: Mapping[str, SimulatedProvider],
        tally: Tally,
        logbook: Logbook,
    ) -> None:
        self._providers = providers
        self._tally = tally
        self._supervisor = Supervisor(logbook)
        self._dispatchers: list[Dispatcher] = []
        ids = SeededIds()
        self._common: dict[str, Any] = {
            "store": store,
            "executor": inline,
            "clock": clock,
            "ids": ids,
            "settings": settings,
            "logbook": logbook,
        }
        self._lookups = Lookups(
            providers={name: one for name, one in providers.items() if settings.providers[name].lookup},
            wake=self.wake,
            **self._common,
        )
        self._committer = Committer(store, inline, self._committed)
        self.acceptor = Acceptor(
            store=store,
            committer=self._committer,
            executor=inline,
            clock=clock,
            ids=ids,
            settings=settings,
        )

    def wake(self) -> None:
        """There may be something to do."""
        for dispatcher in self._dispatchers:
            dispatcher.wake()

    async def start(self, workers: int) -> None:
        """Start everything, with so many workers."""
        self._supervisor.start("committer", self._committer.run())
        for number in range(1, workers + 1):
            name = f"worker {number}"
            keeper = LeaseKeeper(worker=name, observe=self._observed, **self._common)
            dispatcher = Dispatcher(
                providers=self._providers,
                lease=keeper,
                observe=self._observed,
                poll_s=POLL_S,
                **self._common,
            )
            self._dispatchers.append(dispatcher)
            await keeper.acquire()
            self._supervisor.start(f"lease of {name}", keeper.run(_held_by(dispatcher)))
            self._supervisor.start(name, dispatcher.run())

    async def stop(self) -> None:
        """End everything at once."""
        await self._lookups.close()
        await self._supervisor.stop()

    def _committed(self, events: Iterable[Recorded]) -> None:
        self._tally.observe(events)
        self.wake()

    def _observed(self, events: Sequence[Recorded]) -> None:
        self._tally.observe(events)
        self._lookups.observe(events)


def _held_by(dispatcher: Dispatcher) -> Callable[[], frozenset[tuple[str, int]]]:
    return lambda: dispatcher.holds
