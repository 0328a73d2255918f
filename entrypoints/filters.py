"""Which events to show, as people name them: types, providers and statuses, one by one or with commas between."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping

from application.projections.emails import Status
from application.selection import EVENT_TYPES, Wanted

Complain = Callable[[str, str], None]
"""Hears the name of what was given, and what is wrong with it."""


def parse_wanted(
    *, types: Iterable[str], providers: Iterable[str], statuses: Iterable[str], complain: Complain
) -> Wanted:
    """What is wanted; nothing given is everything. A type may be written as log lines have it: `attempt_failed`."""
    names = {_folded(name): name for name in EVENT_TYPES}
    return Wanted(
        types=frozenset(_known("type", types, names, complain)),
        # One that is gone from the configuration is in the log as ever.
        providers=frozenset(_parts(providers)),
        statuses=frozenset(map(Status, _known("status", statuses, {one: one for one in Status}, complain))),
    )


def _known(field: str, given: Iterable[str], names: Mapping[str, str], complain: Complain) -> Iterator[str]:
    for part in _parts(given):
        name = names.get(_folded(part))
        if name is None:
            close = difflib.get_close_matches(_folded(part), names, n=1)
            right = f'did you mean "{names[close[0]]}"?' if close else f"known: {', '.join(names.values())}"
            complain(field, f"has {part!r}, which is no {field} we know; {right}")
        else:
            yield name


def _parts(given: Iterable[str]) -> Iterator[str]:
    return (part.strip() for one in given for part in one.split(",") if part.strip())


def _folded(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
