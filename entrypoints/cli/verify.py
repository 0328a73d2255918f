"""`verify`: whether the log, the views and the contents are what was recorded, read beside whoever is writing."""

from __future__ import annotations

from application.verify import Verdict
from application.verify import verify as verify_log
from entrypoints import shapes
from entrypoints.bootstrap import open_log
from entrypoints.cli.database import database_errors
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, print_json, printable
from entrypoints.cli.progress import progress
from entrypoints.http.canonical import canonical_again


def verify(*, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Prove that the log, the views and the contents are what was recorded; exit code 1: something isn't."""
    loaded = configuration(config)
    with database_errors():
        opened = open_log(loaded)
        try:
            with progress() as told:
                verdict = verify_log(opened.stored, forms=canonical_again, told=told)
        finally:
            opened.close()
    if as_json:
        print_json(shapes.verdict(verdict))
    else:
        print(_told(verdict))
    return FINE if verdict.first_bad is None else NOT


def _told(verdict: Verdict) -> str:
    bad = verdict.first_bad
    if bad is not None:
        where = [f"position {bad.position}"] if bad.position else []
        where += [bad.stream] if bad.stream else []
        return "wrong: " + printable(": ".join((*(", ".join(where),) * bool(where), bad.what)))
    unproven = f", {verdict.unproven} of which no digest tells" if verdict.unproven else ""
    contents = verdict.proven + verdict.unproven
    return f"fine: {verdict.events} events, {verdict.emails} emails, {contents} contents{unproven}"
