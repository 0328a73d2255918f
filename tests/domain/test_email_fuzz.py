"""Any life of an email, against what its providers really received (the invariants of the design, I2 to I14)."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from domain.email.events import Clicked, Delivered
from domain.failures import FailureKind
from domain.retry import RetryPolicy
from domain.routing import Blocked, OnLimit, OnUncertain
from tests.domain.driver import KEY_TTLS, NAMES, REFUSALS, TIMES_S, drive, reaction
from tests.domain.fake_provider import FakeProvider, Reaction
from tests.domain.world import World

SEEDS = 300
"""A second's worth. Tens of thousands were run by hand."""


@cache
def life(seed: int) -> World:
    """One life, from its request to its end."""
    return drive(seed)


@pytest.mark.parametrize("block", range(10))
def test_random_lives_break_nothing(block: int) -> None:
    """Seeded, the same every time: a failure names the invariant, and its seed can be run alone."""
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        world = life(seed)

        assert world.email.end is not None, seed


def test_random_lives_are_lively() -> None:
    """A driver in which little happens would prove little: every event happens, and every end."""
    worlds = [life(seed) for seed in range(SEEDS)]
    seen = {type(event).__name__ for world in worlds for event in world.log}
    ends = {(world.email.end, world.email.fail_reason) for world in worlds}
    second_copies = sum(len(world.taken) > len(world.took()) for world in worlds)

    assert {
        *("Requested", "AttemptStarted", "AttemptFailed", "PartlySent", "Sent", "OutcomeUncertain"),
        *("DuplicateRiskAccepted", "ProviderSwitched", "Failed", "Held", "Released", "Cancelled"),
        *("Rescheduled", "Redriven", "LateResultObserved", "Delivered", "Bounced"),
    } == seen
    assert 5 == len(ends)
    assert second_copies > 0


REACTIONS = st.builds(
    Reaction,
    kind=st.sampled_from([None, None, FailureKind.UNCERTAIN, *REFUSALS]),
    silent=st.booleans(),
    refuses=st.frozensets(st.integers(0, 2)),
    defers=st.frozensets(st.integers(0, 2)),
    retry_after_s=st.none() | st.floats(-1, 1e12),
)
PROVIDERS = st.builds(
    FakeProvider,
    name=st.sampled_from(NAMES),
    key_ttl=st.sampled_from(KEY_TTLS),
    feedback=st.booleans(),
    partial=st.booleans(),
)
BLOCKED = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from([Blocked.PAUSED, Blocked.CIRCUIT_OPEN, Blocked.AT_LIMIT, Blocked.NOT_BEFORE]),
    max_size=2,
)


class AnyLife(RuleBasedStateMachine):
    """Hypothesis looks for a life that breaks an invariant, and for the shortest such life."""

    world: World | None = None

    @initialize(
        providers=st.lists(PROVIDERS, min_size=1, max_size=3, unique_by=lambda one: one.name),
        recipients=st.integers(1, 3),
        on_uncertain=st.sampled_from(list(OnUncertain)),
        lifetime_s=st.sampled_from([20, 120, 86_400]),
        on_limit=st.sampled_from(list(OnLimit)),
        tries=st.integers(1, 3),
        resolve_within_s=st.sampled_from([5, 120]),
        seed=st.integers(0, 2**16),
    )
    def begin(
        self,
        providers: list[FakeProvider],
        recipients: int,
        on_uncertain: OnUncertain,
        lifetime_s: int,
        on_limit: OnLimit,
        tries: int,
        resolve_within_s: int,
        seed: int,
    ) -> None:
        """An email, its route and its policy."""
        self.chance = random.Random(seed)
        self.world = World(
            providers={one.name: one for one in providers},
            recipients=recipients,
            on_uncertain=on_uncertain,
            expires_after=timedelta(seconds=lifetime_s),
            on_limit=on_limit,
            retry=RetryPolicy(attempts_per_provider=tries),
            resolve_within=timedelta(seconds=resolve_within_s),
            chance=self.chance.random,
        )

    @property
    def alive(self) -> World:
        """The world, once it has begun."""
        assert self.world is not None
        return self.world

    @property
    def number(self) -> int:
        """The open attempt's number, or 0."""
        attempt = self.alive.email.open_attempt
        return 0 if attempt is None else attempt.number

    @rule(seconds=st.sampled_from(TIMES_S))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.alive.wait(timedelta(seconds=seconds))

    @rule(blocked=BLOCKED)
    def start(self, blocked: dict[str, Blocked]) -> None:
        """A worker asks."""
        self.alive.start(blocked)

    @precondition(lambda self: self.world is not None and self.number)
    @rule(reaction=REACTIONS, record=st.booleans())
    def call(self, reaction: Reaction, record: bool) -> None:
        """The worker calls, and mostly records what came of it."""
        self.alive.call(self.number, reaction)
        if record:
            self.alive.record(self.number)

    @precondition(lambda self: self.world is not None and self.number)
    @rule(survives=st.booleans())
    def lose(self, survives: bool) -> None:
        """The worker loses its lease."""
        self.alive.lose(survives=survives)

    @precondition(lambda self: self.world is not None and self.world.zombies)
    @rule(pick=st.integers(0, 9), reaction=REACTIONS)
    def arrive(self, pick: int, reaction: Reaction) -> None:
        """A worker without a lease brings what it has."""
        zombies = sorted(self.alive.zombies)
        number = zombies[pick % len(zombies)]
        self.alive.call(number, reaction)
        self.alive.record(number)

    @precondition(lambda self: self.world is not None and self.world.taken)
    @rule(pick=st.integers(0, 9), clicked=st.booleans())
    def tell(self, pick: int, clicked: bool) -> None:
        """A provider tells about a recipient."""
        number, recipients = self.alive.taken[pick % len(self.alive.taken)]
        kind = Clicked if clicked else Delivered
        self.alive.tell(kind(attempt=number, recipient=recipients[0], observed_at=self.alive.now))

    @rule()
    def tick(self) -> None:
        """The clock is looked at."""
        self.alive.overdue()

    @rule()
    def cancel(self) -> None:
        """Somebody calls it off."""
        self.alive.cancel()

    @rule(accept=st.booleans())
    def redo(self, accept: bool) -> None:
        """Somebody retries."""
        self.alive.redo(accept_duplicate_risk=accept)

    @rule(seconds=st.sampled_from([-5, 0, 40]))
    def reschedule(self, seconds: float) -> None:
        """Somebody changes the time."""
        self.alive.reschedule(timedelta(seconds=seconds))

    def teardown(self) -> None:
        """Whatever happened before: it comes to an end."""
        if self.world is not None:
            self.world.drain(lambda: reaction(self.alive, self.chance))


AnyLife.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyLife = AnyLife.TestCase
