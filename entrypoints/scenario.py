"""The scenario of a simulation as people write it: a TOML file, and options that take the place of its keys."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from application.settings import DEFAULT_ROUTE, Settings
from application.simulate_scenario import (
    ALWAYS,
    REFUSALS,
    Burst,
    Manner,
    Pace,
    Sample,
    Scenario,
    Silence,
    Span,
    Trouble,
)
from domain.failures import FailureKind
from domain.rate_limit import UNITS, Rate
from entrypoints.config_source import ConfigError, Override, Place, Source, quoted, suggestion
from entrypoints.config_values import mapping, parsed, table, whole
from entrypoints.quantities import parse_duration

EMAILS_MAX = 20_000_000
"""In one simulation: some minutes."""

LASTS_MAX = timedelta(days=31)
WORKERS_MAX = 64
SEED_MAX = 2**31 - 1

PER_S = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*/\s*([smhd])")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%")
BURST = re.compile(r"([1-9][0-9_]{0,9})\s*@(.*)")
SPAN_FORM = "write it like '10m..40m', or '10m..' for until the end"
FATES: Mapping[str, FailureKind | Silence] = {one.value: one for one in (*REFUSALS, *Silence)}

T = TypeVar("T")


def parse_per_s(written: str) -> float:
    """Read `50/s`, `3000/m`; as emails a second. Raises ValueError with the form that would be right."""
    match = PER_S.fullmatch(written.strip())
    if match is None:
        raise ValueError(f"{written!r} is not a rate; write it like '50/s', '3000/m' or '0.5/s'")
    return float(match[1]) / UNITS[match[2]].total_seconds()


def parse_share(written: str) -> float:
    """Read `20%`; as a part of one. Raises ValueError likewise."""
    match = SHARE.fullmatch(written.strip())
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{written!r} is not a share; write it like '20%', at most '100%'")
    return float(match[1]) / 100


def parse_at(written: str) -> float:
    """Read a moment of the simulated time, `10m` after it begins or `0`; as seconds. Raises ValueError likewise."""
    return 0.0 if written.strip() == "0" else parse_duration(written).total_seconds()


def parse_span(written: str) -> Span:
    """Read `10m..40m`. Raises ValueError likewise."""
    begins, dots, ends = written.partition("..")
    if not dots:
        raise ValueError(f"{written!r} is not a span of time; {SPAN_FORM}")
    span = Span(parse_at(begins), parse_at(ends) if ends.strip() else math.inf)
    if span.ends_s <= span.begins_s:
        raise ValueError(f"{written!r} ends before it begins; {SPAN_FORM}")
    return span


def parse_pace(written: str) -> Pace:
    """Read `800ms` or `5s@10m..20m`. Raises ValueError likewise."""
    latency, _, span = written.partition("@")
    return Pace(parse_duration(latency).total_seconds(), parse_span(span) if span else ALWAYS)


def parse_trouble(written: str) -> Trouble:
    """Read `lost`, `transient:20%` or `account:100%@10m..20m`. Raises ValueError likewise."""
    what, _, span = written.partition("@")
    name, _, share = what.partition(":")
    if name.strip() not in FATES:
        raise ValueError(f"{name!r} is no way to fail; {suggestion(name, FATES)}")
    fate = FATES[name.strip()]
    return Trouble(fate, parse_share(share) if share else 1.0, parse_span(span) if span else ALWAYS)


def parse_burst(written: str) -> Burst:
    """Read `5000@30m`. Raises ValueError likewise."""
    match = BURST.fullmatch(written.strip())
    if match is None:
        raise ValueError(f"{written!r} is not a burst; write it like '5000@30m': so many emails, then")
    return Burst(int(match[1].replace("_", "")), parse_at(match[2]))


def some(parse: Callable[[str], T]) -> Callable[[object, Place], tuple[T, ...]]:
    """A reader of one text or a list of them."""

    def read(value: object, place: Place) -> tuple[T, ...]:
        return tuple(parsed(parse)(one, place) for one in (value if isinstance(value, list) else [value]))

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How a provider behaves. `outage`: it can't be reached. `failing`: it refuses, or its answers get lost."""

    latency: Annotated[tuple[Pace, ...], some(parse_pace)] = ()
    outage: Annotated[tuple[Span, ...], some(parse_span)] = ()
    failing: Annotated[tuple[Trouble, ...], some(parse_trouble)] = ()
    throttle: Annotated[Rate | None, parsed(Rate.parse)] = None

    def manner(self) -> Manner:
        """What that means to a simulated provider."""
        outages = (Trouble(FailureKind.TRANSIENT, 1.0, span) for span in self.outage)
        return Manner(paces=self.latency, troubles=(*outages, *self.failing), throttle=self.throttle)


def _each(read: Callable[[object, Place], T]) -> Callable[[object, Place], Mapping[str, T]]:
    return lambda value, place: {name: read(one, place / name) for name, one in mapping(value, place).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The keys of a scenario. `routes`: which share of the emails is meant for each; the rest takes the default."""

    rate: Annotated[float, parsed(parse_per_s)] = 10.0
    lasts: timedelta = field(default=timedelta(hours=1), metadata={"key": "for"})
    burst: Annotated[tuple[Burst, ...], some(parse_burst)] = ()
    workers: Annotated[int, partial(whole, most=WORKERS_MAX)] = 1
    seed: Annotated[int, partial(whole, most=SEED_MAX)] = 1
    routes: Annotated[Mapping[str, float], _each(parsed(parse_share))] = field(default_factory=dict)
    providers: Annotated[Mapping[str, Played], _each(partial(table, Played))] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the command line: `value` for the key `path` of a scenario."""

    name: str
    path: tuple[str, ...]
    value: str | int | list[str]


def load_scenario(file: Path | None, options: list[Option], settings: Settings) -> Scenario:
    """The scenario in `file` with `options` laid over it. Raises ConfigError, which names file and key, or option."""
    raw: dict[str, Any] = {} if file is None else _toml(file)
    overrides: dict[tuple[str, ...], Override] = {}
    for option in options:
        at = raw
        for key in option.path[:-1]:
            at = at.setdefault(key, {})
            if not isinstance(at, dict):
                raise ConfigError(str(file), key, "is no table", f"write it as [{key}]")
        at[option.path[-1]] = option.value
        written = option.value if isinstance(option.value, str) else None
        overrides[option.path] = Override(option.name, written, literal=True)
    name = "the scenario" if file is None else str(file)
    place = Place(Source(file=name, folder=Path(), environ={}, overrides=overrides))
    return _scenario(table(Written, raw, place), settings, place)


def _scenario(written: Written, settings: Settings, place: Place) -> Scenario:
    for name in written.providers:
        if name not in settings.providers:
            wrong = f"there is no provider {quoted(name)}"
            raise _place(place, "providers", name).error(wrong, suggestion(name, settings.providers))
    scenario = Scenario(
        per_s=written.rate,
        lasts=written.lasts,
        samples=_samples(written.routes, settings, place),
        bursts=written.burst,
        manners={name: one.manner() for name, one in written.providers.items()},
        workers=written.workers,
        seed=written.seed,
    )
    if written.lasts > LASTS_MAX:
        raise (place / "for").error("is too long", f"at most '{LASTS_MAX.days}d'")
    if scenario.emails > EMAILS_MAX:
        wrong = f"makes {scenario.emails:.0f} emails"
        raise (place / "rate").error(wrong, f"at most {EMAILS_MAX}: lower the rate, or make it shorter")
    late = next((one for one in written.burst if one.at_s >= written.lasts.total_seconds()), None)
    if late is not None:
        raise (place / "burst").error("comes after the end", "let it come before, or make it last longer")
    return scenario


def _samples(shares: Mapping[str, float], settings: Settings, place: Place) -> tuple[Sample, ...]:
    named = sum(share for name, share in shares.items() if name != DEFAULT_ROUTE)
    total = sum(shares.values())
    if total > 1 + 1e-9:
        raise (place / "routes").error(f"add up to {total:.0%}", "let them add up to 100% at most")
    found = [_sample(name, share, settings, place) for name, share in shares.items() if name != DEFAULT_ROUTE]
    rest = Sample(DEFAULT_ROUTE, max(0.0, 1 - named), from_domain=_other_domain(settings))
    return (*found, rest) if rest.share > 1e-9 else tuple(found)


def _sample(name: str, share: float, settings: Settings, place: Place) -> Sample:
    """An email that takes this route, as the configuration says which do."""
    at = _place(place, "routes", name)
    route = settings.routes.get(name)
    if route is None:
        raise at.error(f"there is no route {quoted(name)}", suggestion(name, settings.routes))
    tags = () if route.match_tag is None else (route.match_tag,)
    domain = route.match_from_domain or _other_domain(settings)
    taken = settings.route_for(tags=tags, from_domain=domain).name
    if taken != name:
        raise at.error(f"an email for it takes {quoted(taken)}", f"put it before {quoted(taken)} in the file")
    return Sample(name, share, tags, domain)


def _other_domain(settings: Settings) -> str:
    """A sender that no route is meant for."""
    meant = {route.match_from_domain for route in settings.routes.values()}
    return next(
        f"{'x' * n}shop.example" for n in range(len(meant) + 1) if f"{'x' * n}shop.example" not in meant
    )


def _place(place: Place, *keys: str) -> Place:
    """The key, or the first option that named something in it."""
    path = (*place.path, *keys)
    said = [known for known in place.source.overrides if known[: len(path)] == path]
    return Place(place.source, said[0] if said else path)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            str(file), "", f"can't be read ({error.strerror})", "name an existing file"
        ) from None
    except ValueError as error:  # not UTF-8, or not TOML
        right = 'see https://toml.io; texts stand in quotes, like rate = "50/s"'
        raise ConfigError(str(file), "", f"is not TOML: {error}", right) from None
