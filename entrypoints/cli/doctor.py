"""`doctor`: what is fine here, what is worth a look, and what is broken, each with what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from application.doctor import Finding, Verdict, examine, failed
from entrypoints.bootstrap import Patient, open_patient
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, columns, print_json, show
from entrypoints.config import Config
from entrypoints.config_source import ConfigError
from entrypoints.examination import checks_of, wrong_configuration

Offline = Annotated[bool, Parameter(help="Ask no provider.")]

SHOWN = {Verdict.PASS: "pass", Verdict.WARN: "WARN", Verdict.FAIL: "FAIL"}


def doctor(*, offline: Offline = False, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Examine everything here; exit code 1: something is broken."""
    with asyncio.Runner() as runner:
        found = runner.run(_examined(config, offline=offline))
        broken = any(one.verdict is Verdict.FAIL for one in found)
        # Said before the end of the block, which may wait for a name server.
        if as_json:
            print_json({"ok": not broken, "checks": [_shape(one) for one in found]})
        else:
            _print(found)
    return NOT if broken else FINE


async def _examined(file: Path | None, *, offline: bool) -> list[Finding]:
    try:
        config = configuration(file)
    except ConfigError as error:
        return [wrong_configuration(error)]
    patient, unfit = _patient(config)
    try:
        return unfit + await examine(checks_of(config, patient, offline=offline))
    finally:
        if patient is not None:
            patient.close()


def _patient(config: Config) -> tuple[Patient | None, list[Finding]]:
    """The database, or what keeps it from being looked at."""
    try:
        return open_patient(config), []
    except ConfigError:
        return None, []  # the check of the configuration says why
    except Exception as error:  # what it says may hold the password
        told = f"its URL can't be read ({type(error).__name__})"
        return None, [failed("database", told, 'write it like "postgresql://user:password@host:5432/name"')]


def _shape(one: Finding) -> dict[str, str]:
    return {"name": one.name, "verdict": one.verdict.value, "what": one.what, "to_do": one.to_do}


def _print(found: Sequence[Finding]) -> None:
    rows: list[tuple[str, ...]] = []
    for one in found:
        rows.append((SHOWN[one.verdict], one.name, one.what))
        if one.to_do:
            rows.append(("", "", f"to do: {one.to_do}"))
    counts = Counter(one.verdict for one in found)
    said = {Verdict.FAIL: "failed", Verdict.WARN: "worth a look", Verdict.PASS: "fine"}
    show(columns(rows), "", ", ".join(f"{counts[one]} {word}" for one, word in said.items() if counts[one]))
