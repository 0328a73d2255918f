"""What a provider does with one submission, by its mood and by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from application.provider_port import Submission
from domain.failures import FailureKind
from tests.simulation.plan import Mail, Mood, Way

K = FailureKind
ANYTHING = (K.CONTENT, K.SENDER, K.TOO_LARGE, K.THROTTLED, K.TRANSIENT, K.TRANSIENT, K.DEFERRED, K.UNKNOWN)
PICKY = (K.CONTENT, K.CONTENT, K.SENDER, K.TOO_LARGE, K.DEFERRED, K.RECIPIENT, K.UNKNOWN)
ALWAYS = {Mood.DOWN: K.TRANSIENT, Mood.SUSPENDED: K.ACCOUNT, Mood.EXHAUSTED: K.QUOTA}
FLAPS_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """`kind`: refused before anything was handed over. Else it arrives after `take_s`, and `vanishes` or is taken.

    `silent`: no answer comes.
    """

    connect_s: float = 0.05
    kind: FailureKind | None = None
    retry_after_s: float | None = None
    take_s: float = 0.05
    reply_s: float = 0.05
    vanishes: bool = False
    silent: bool = False
    refused: frozenset[int] = frozenset()
    deferred: frozenset[int] = frozenset()


def mood_at(way: Way, now_s: float) -> Mood:
    """How the provider feels."""
    return [mood for at_s, mood in way.moods if at_s <= now_s][-1]


def reaction(
    way: Way, mail: Mail, submission: Submission, rng: random.Random, *, now_s: float, calm: bool
) -> Reaction:
    """What happens to it. Once it is calm, only what is wrong with the email itself is still wrong."""
    mood = Mood.FINE if calm else mood_at(way, now_s)
    first = submission.attempt == 1
    react = Reaction(
        connect_s=rng.uniform(0.01, 0.1),
        take_s=rng.uniform(0.01, 0.2),
        reply_s=rng.uniform(0.01, 0.1),
        refused=mail.hopeless & set(submission.recipients),
        deferred=mail.shy if first and not calm else frozenset(),
    )
    return _moody(react, mood, submission, rng, now_s)


def _moody(react: Reaction, mood: Mood, submission: Submission, rng: random.Random, now_s: float) -> Reaction:
    match mood:
        case Mood.FINE:
            return react
        case Mood.MOODY:
            luck = rng.random()
            if luck < 0.5:
                return react
            if luck < 0.65:
                return _lost(react, rng)
            if luck < 0.75:
                return _partial(react, submission, rng)
            return _refuses(react, rng.choice(ANYTHING), rng)
        case Mood.SLOW:
            return replace(
                react, connect_s=rng.uniform(0, 5), take_s=rng.uniform(0, 30), reply_s=rng.uniform(0, 30)
            )
        case Mood.LOSSY:
            luck = rng.random()
            if luck < 0.5:
                return _lost(react, rng)
            return _refuses(react, K.TRANSIENT, rng) if luck < 0.7 else react
        case Mood.FLAPPING:
            down = int(now_s / FLAPS_EVERY_S) % 2 == 0
            return _refuses(react, K.TRANSIENT, rng) if down else react
        case Mood.THROTTLING:
            return _refuses(react, K.THROTTLED, rng) if rng.random() < 0.8 else react
        case Mood.PICKY:
            return (
                _refuses(react, rng.choice(PICKY), rng)
                if rng.random() < 0.5
                else _partial(react, submission, rng)
            )
        case Mood.DOWN | Mood.SUSPENDED | Mood.EXHAUSTED:
            return _refuses(react, ALWAYS[mood], rng)
        case Mood.HANGING:
            return replace(react, silent=True, vanishes=rng.random() < 0.5)


def _lost(react: Reaction, rng: random.Random) -> Reaction:
    return replace(react, silent=True, vanishes=rng.random() < 0.3)


def _refuses(react: Reaction, kind: FailureKind, rng: random.Random) -> Reaction:
    asks = kind in (K.THROTTLED, K.QUOTA) and rng.random() < 0.6
    return replace(react, kind=kind, retry_after_s=rng.choice((1.0, 15.0, 90.0)) if asks else None)


def _partial(react: Reaction, submission: Submission, rng: random.Random) -> Reaction:
    some = frozenset(index for index in submission.recipients if rng.random() < 0.3)
    others = frozenset(index for index in submission.recipients if rng.random() < 0.3)
    return replace(react, refused=react.refused | some, deferred=react.deferred | others)
