"""Options that many commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help="The configuration; default: ./stagepost.toml, if it is there."),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, on one line.")]
