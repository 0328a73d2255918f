"""Options that many commands share, each spelled once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from entrypoints.config import DEFAULT_FILE, Config, dev_config, load_config
from entrypoints.dsn import DSN_VARIABLE

DEV_FOLDER = Path("var")
"""Where `stagepost dev` keeps everything."""

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help="The configuration; default: ./stagepost.toml, if it is there."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, on one line.")]


def configuration(file: Path | None) -> Config:
    """What a command about a service goes by: where nothing is configured but `dev` was here, what `dev` runs with."""
    named = any(variable in os.environ for variable in ("STAGEPOST__DATABASE", DSN_VARIABLE))
    configured = named or file is not None or Path(DEFAULT_FILE).exists()
    if not configured and (DEV_FOLDER / "stagepost.db").exists():
        return dev_config(DEV_FOLDER)
    return load_config(file)
