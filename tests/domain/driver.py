"""Random lives of an email: whatever a seeded generator comes up with, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from domain.email.events import Bounced, Delivered
from domain.failures import FailureKind
from domain.retry import RetryPolicy
from domain.routing import Blocked, OnLimit, OnUncertain
from tests.domain.fake_provider import FakeProvider, Reaction
from tests.domain.world import World

NAMES = ("ses", "resend", "smtp")
KEY_TTLS = [None, None, timedelta(seconds=60), timedelta(hours=12)]
REFUSALS = [
    *[FailureKind.TRANSIENT] * 4,
    *[FailureKind.THROTTLED] * 2,
    *[FailureKind.NOT_TRIED] * 2,
    FailureKind.CONTENT,
    FailureKind.TOO_LARGE,
    FailureKind.SENDER,
    FailureKind.ACCOUNT,
    FailureKind.QUOTA,
    FailureKind.RECIPIENT,
    FailureKind.DEFERRED,
    FailureKind.UNKNOWN,
]
WEIGHTS = {
    "start": 10.0,
    "call": 3.0,
    "record": 8.0,
    "lose": 2.0,
    "zombie": 2.0,
    "feedback": 1.5,
    "tick": 2.0,
    "cancel": 0.15,
    "redo": 0.6,
    "reschedule": 0.15,
    "wait": 4.0,
}
TIMES_S = [0.5, 1, 1, 2, 2, 5, 15, 130]


def drive(seed: int) -> World:
    """One life, to its end. Raises `Broken` where an invariant does not hold."""
    chance = random.Random(seed)
    world = a_world(chance)
    weights = [weight * chance.choice([0.3, 1, 1, 3]) for weight in WEIGHTS.values()]
    content_refused = chance.random() < 0.15
    for _ in range(chance.randint(5, 80)):
        step(world, chance, chance.choices(list(WEIGHTS), weights)[0], content_refused=content_refused)
    world.drain(lambda: reaction(world, chance, content_refused=content_refused))
    return world


def a_world(chance: random.Random) -> World:
    """One to three providers, with and without keys, with and without feedback."""
    providers = {
        name: FakeProvider(
            name=name,
            key_ttl=chance.choice(KEY_TTLS),
            feedback=chance.random() < 0.3,
            partial=chance.random() < 0.6,
        )
        for name in chance.sample(NAMES, chance.randint(1, 3))
    }
    return World(
        providers=providers,
        recipients=chance.choice([1, 2, 3]),
        on_uncertain=chance.choice(list(OnUncertain)),
        expires_after=timedelta(seconds=chance.choice([20, 120, 600, 86_400])),
        send_in=chance.choice([None, None, None, timedelta(seconds=30)]),
        on_limit=chance.choice(list(OnLimit)),
        retry=RetryPolicy(attempts_per_provider=chance.choice([1, 2, 3])),
        resolve_within=timedelta(seconds=chance.choice([5, 120])),
        chance=chance.random,
    )


def reaction(world: World, chance: random.Random, *, content_refused: bool = False) -> Reaction:
    """What a provider does next: takes it, loses its reply, refuses, defers."""
    everybody = range(world.recipients)
    refuses = frozenset(n for n in everybody if chance.random() < 0.15)
    defers = frozenset(n for n in everybody if chance.random() < 0.25)
    if content_refused and chance.random() < 0.6:
        kind: FailureKind | None = FailureKind.CONTENT
    else:
        kind = chance.choices([None, FailureKind.UNCERTAIN, chance.choice(REFUSALS)], weights=[6, 2, 4])[0]
    return Reaction(
        kind=kind,
        silent=chance.random() < 0.35,
        refuses=refuses,
        defers=defers,
        retry_after_s=chance.choice([None, None, 3.0, 90.0]),
    )


def blocked(world: World, chance: random.Random) -> dict[str, Blocked]:
    """Some providers, now and then."""
    reasons = [Blocked.PAUSED, Blocked.CIRCUIT_OPEN, Blocked.AT_LIMIT, Blocked.NOT_BEFORE]
    return {name: chance.choice(reasons) for name in world.providers if chance.random() < 0.2}


def step(world: World, chance: random.Random, what: str, *, content_refused: bool) -> None:
    """One thing that happens."""
    under_way = world.email.open_attempt
    number = under_way.number if under_way is not None else None
    actions: dict[str, Callable[[], object]] = {
        "start": lambda: world.start(blocked(world, chance)),
        "lose": lambda: world.lose(survives=chance.random() < 0.7),
        "tick": world.tick,
        "cancel": world.cancel,
        "redo": lambda: world.redo(accept_duplicate_risk=chance.random() < 0.6),
        "reschedule": lambda: world.reschedule(timedelta(seconds=chance.choice([-5, 0, 40]))),
        "wait": lambda: world.wait(timedelta(seconds=chance.choice(TIMES_S))),
    }
    if what in actions:
        actions[what]()
    elif what == "call" and number is not None:
        world.call(number, reaction(world, chance, content_refused=content_refused))
    elif what == "record" and number is not None:
        world.call(number, reaction(world, chance, content_refused=content_refused))
        world.record(number)
    elif what == "zombie" and world.zombies:
        zombie = chance.choice(sorted(world.zombies))
        world.call(zombie, reaction(world, chance, content_refused=content_refused))
        if chance.random() < 0.8:
            world.record(zombie)
    elif what == "feedback":
        feed_back(world, chance)


def feed_back(world: World, chance: random.Random) -> None:
    """A provider that tells at all tells about one recipient of what it took."""
    attempts = world.email.attempts
    told = [one for one in world.taken if world.providers[attempts[one[0] - 1].provider].feedback]
    if not told:
        return
    number, recipients = chance.choice(told)
    recipient = chance.choice(recipients)
    if chance.random() < 0.8:
        world.tell(Delivered(attempt=number, recipient=recipient, observed_at=world.now))
    else:
        world.tell(
            Bounced(attempt=number, recipient=recipient, permanent=True, code="5.1.1", observed_at=world.now)
        )
