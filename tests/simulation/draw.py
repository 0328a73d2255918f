"""A plan from a seed: first the shape of it (much or little, of what), then the rest, so that seeds differ widely."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from domain.rate_limit import Rate
from domain.routing import OnLimit, OnUncertain, Priority
from tests.simulation.plan import Act, Deed, Fault, Mail, Mood, Plan, Point, Trouble, Way, chance

Happens = TypeVar("Happens", Fault, Act)

NAMES = ("ants", "bees", "cats", "dogs")
RATES = ("2/s", "5/s", "3/m", "10/m", "20/m", "60/m")
ROUGH = tuple(mood for mood in Mood if mood is not Mood.FINE)
POINTS = tuple(Point)
PLAIN = tuple(one for one in Trouble if one is not Trouble.UNANSWERED)
ANYWHERE = (Trouble.CRASH, Trouble.FREEZE, Trouble.SUSPEND)
LONGEST_FREEZE_S = 150.0
KEYS_LIVE_S = (45.0, 3600.0)


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    rng = chance("plan", seed)
    calm_s = rng.choice((20.0, 40.0, 80.0, 160.0))
    count = rng.choice((1, 2, 4, 8, 8, 14, 24))
    ways = _ways(rng, calm_s)
    mails = tuple(_mail(rng, number, calm_s) for number in range(count))
    nodes = rng.choice((1, 1, 2, 2, 3, 4))
    rated = rng.random() < 0.25
    return Plan(
        seed=seed,
        ways=ways,
        mails=mails,
        nodes=nodes,
        faults=_in_time(
            (*_faults(rng, nodes, calm_s), *_unanswered(chance("unanswered", seed), nodes, calm_s))
        ),
        acts=_in_time(_acts(rng, [mail.key for mail in mails], [way.name for way in ways], calm_s)),
        calm_s=calm_s,
        policy=rng.choice((OnUncertain.RETRY, OnUncertain.RETRY, OnUncertain.HOLD, OnUncertain.FAIL)),
        on_limit=rng.choice(tuple(OnLimit)),
        service_rates=_rates(rng, ("3/s", "30/m")) if rated else (),
        route_rates=_rates(rng, ("2/s", "20/m")) if rated and rng.random() < 0.5 else (),
        attempts=rng.choice((1, 2, 2, 3)),
        cap_s=rng.choice((10.0, 30.0, 120.0)),
        lease_s=rng.choice((15.0, 45.0)),
        poll_s=rng.choice((5.0, 15.0)),
        resolve_s=rng.choice((5.0, 30.0, 90.0)),
        urgency=rng.choice((Priority.HIGH, Priority.NORMAL)),
        alone=nodes == 1 and rng.random() < 0.5,
        kept_s=rng.choice((None, None, 10.0)),
        rolls=len(ways) > 1 and chance("rolls", seed).random() < 0.2,
    )


def _in_time(things: Iterable[Happens]) -> tuple[Happens, ...]:
    return tuple(sorted(things, key=lambda one: one.at_s))


def _ways(rng: random.Random, calm_s: float) -> tuple[Way, ...]:
    names = NAMES[: rng.choice((1, 2, 2, 2, 3, 4))]
    tame = rng.random() < 0.15
    return tuple(_way(rng, name, calm_s, tame=tame) for name in names)


def _way(rng: random.Random, name: str, calm_s: float, *, tame: bool) -> Way:
    turns = 0 if tame else rng.randint(0, 3)
    times = sorted(rng.uniform(0, calm_s * 0.9) for _ in range(turns))
    first = Mood.FINE if tame else rng.choice((Mood.FINE, Mood.MOODY, Mood.MOODY, *ROUGH))
    return Way(
        name=name,
        moods=((0.0, first), *((at_s, rng.choice((Mood.FINE, *ROUGH))) for at_s in times)),
        rates=_rates(rng, RATES) if rng.random() < 0.3 else (),
        concurrency=rng.choice((1, 2, 4, 16)),
        key_ttl_s=rng.choice((None, None, *KEYS_LIVE_S)),
        feedback=rng.random() < 0.25,
        lookup=rng.random() < 0.25,
    )


def _rates(rng: random.Random, among: Sequence[str]) -> tuple[Rate, ...]:
    return tuple(Rate.parse(one) for one in rng.sample(among, rng.choice((1, 1, 2))))


def _mail(rng: random.Random, number: int, calm_s: float) -> Mail:
    recipients = rng.choice((1, 1, 1, 2, 3))
    strange = rng.random() < 0.3
    return Mail(
        key=f"k{number}" if rng.random() < 0.9 else f"k{number}@example.org",
        at_s=rng.choice((0.0, rng.uniform(0, calm_s * 0.6))),
        recipients=recipients,
        hopeless=frozenset(n for n in range(recipients) if strange and rng.random() < 0.3),
        shy=frozenset(n for n in range(recipients) if strange and rng.random() < 0.4),
        policy=rng.choice((None, None, None, *OnUncertain)),
        urgent=rng.random() < 0.2,
        expires_s=rng.choice((20.0, 60.0, 120.0, 300.0, 600.0)),
        send_in_s=rng.choice((None, None, None, None, rng.uniform(1, calm_s))),
    )


def _faults(rng: random.Random, nodes: int, calm_s: float) -> Iterator[Fault]:
    among = rng.choice(
        (
            (),
            (Trouble.CRASH,),
            (Trouble.FREEZE, Trouble.SUSPEND),
            (Trouble.CUT_OFF, Trouble.NOT_COMMITTED),
            (Trouble.STEP, Trouble.STOP),
            PLAIN,
            PLAIN,
        )
    )
    for _ in range(rng.choice((1, 2, 4, 8)) if among else 0):
        trouble = rng.choice(among)
        longest_s = LONGEST_FREEZE_S if trouble in (Trouble.FREEZE, Trouble.SUSPEND) else 60.0
        yield Fault(
            at_s=rng.uniform(0, calm_s * 0.9),
            node=rng.randrange(nodes),
            trouble=trouble,
            point=rng.choice(POINTS) if trouble in ANYWHERE else Point.NOW,
            for_s=rng.choice((rng.uniform(0, 5), rng.uniform(5, longest_s))),
            by_s=rng.choice((-3600.0, -10.0, 10.0, 3600.0)) if trouble is Trouble.STEP else 0.0,
        )


def _unanswered(rng: random.Random, nodes: int, calm_s: float) -> Iterator[Fault]:
    for _ in range(rng.choice((0, 0, 1, 4))):
        yield Fault(at_s=rng.uniform(0, calm_s * 0.9), node=rng.randrange(nodes), trouble=Trouble.UNANSWERED)


def _acts(rng: random.Random, mails: list[str], ways: list[str], calm_s: float) -> Iterator[Act]:
    for _ in range(rng.choice((0, 1, 3, 8, 12))):
        deed = rng.choice((*Deed, *(Deed.RETRY, Deed.RETRY_AT_RISK) * 2))
        at_provider = deed in (Deed.PAUSE, Deed.RESUME, Deed.RESET)
        act = Act(
            at_s=rng.uniform(0, calm_s * rng.choice((1.0, 3.0))),
            deed=deed,
            target=rng.choice(ways if at_provider else mails),
            by_s=rng.uniform(0, calm_s),
        )
        yield act
