"""`replay`: the log folded anew, to count it, or to have a view as it says."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from application.replay import ALL, PROJECTIONS, UnknownView, chosen
from entrypoints import shapes
from entrypoints.bootstrap import open_log
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, BadUsage, print_error, print_json, print_pairs
from entrypoints.cli.progress import progress
from entrypoints.cli.writing import open_writer
from entrypoints.config import Config
from entrypoints.shapes import Shape

VIEWS = "|".join((*(one.name for one in PROJECTIONS), ALL))
View = Annotated[
    str | None,
    Parameter(name="--rebuild", help=f"Have this view as its events say: {VIEWS}. Nothing stops for it."),
]


def replay(*, rebuild: View = None, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Fold the log anew: count it, or have a view as it says."""
    loaded = configuration(config)
    return _count(loaded, as_json) if rebuild is None else _rebuild(loaded, rebuild, as_json)


def _count(config: Config, as_json: bool) -> int:
    with database_errors():
        opened = open_log(config)
        try:
            began = time.monotonic()
            with progress() as told:
                found = opened.folds.count(lambda done, whole: told("events", done, whole))
            counted = shapes.counted(found, time.monotonic() - began)
        finally:
            opened.close()
    if as_json:
        print_json(counted)
        return FINE
    print(
        f"{counted['events']} events in {counted['seconds']:.1f} s, {counted['events_per_second'] or 0} a second"
    )
    for title in ("types", "emails", "attempts"):
        counts = sorted(counted[title].items(), key=lambda one: (-one[1], one[0]))
        if counts:
            print(f"\n{'events' if title == 'types' else title}")
            print_pairs([(f"  {name}", f"{count:>10}") for name, count in counts])
    return FINE


def _rebuild(config: Config, view: str, as_json: bool) -> int:
    try:
        chosen(view)
    except UnknownView as error:
        raise BadUsage(f"--rebuild: {error}") from None
    with open_writer(config) as writer, progress() as told:
        ended = writer.rebuild(
            view, lambda state: told(state["now"] or view, state["done"], state["whole"] or None)
        )
    if as_json:
        print_json(ended)
    else:
        for one in ended["rebuilt"]:
            print(_line(one))
    if ended["failed"]:
        print_error(f"{view}: {ended['failed']}")
    return NOT if ended["failed"] else FINE


def _line(one: Shape) -> str:
    what = f"{one['view']}: {one['events']} events folded"
    if one["rows"] is None:
        return f"{what}, all rows written anew"
    return f"{what}, {one['rows']} rows were not as they say, {one['removed']} belonged to none"
