"""Where a configuration's values stand, and what to say about one that can't be used."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}`: the value of an environment variable is put in."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
QUOTED_MAX = 60
"""Characters of a bad value that an error repeats."""


class ConfigError(Exception):
    """The configuration can't be used. One line: where (`file`, `key`), what is `wrong`, what would be `right`."""

    def __init__(self, file: str, key: str, wrong: str, right: str) -> None:
        line = ": ".join(part for part in (file, key, f"{wrong}; {right}") if part)
        super().__init__(" ".join(line.split()))
        self.file = file
        self.key = key
        self.wrong = wrong
        self.right = right


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a configuration came from.

    Relative paths in it start at `folder`. `environ` is what `${NAME}` looks into. `overrides`: the environment
    variable that set a key path, and that variable's text.
    """

    file: str
    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    overrides: Mapping[tuple[str, ...], tuple[str, str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """One key of a source, however deep."""

    source: Source
    path: tuple[str, ...] = ()

    def __truediv__(self, key: str) -> Place:
        return Place(self.source, (*self.path, key))

    @property
    def file(self) -> str:
        """What to correct: the environment variable that set this key or a table around it, else the file."""
        for length in range(len(self.path), 0, -1):
            if override := self.source.overrides.get(self.path[:length]):
                return override[0]
        return self.source.file

    @property
    def key(self) -> str:
        """`providers.primary.port`."""
        return ".".join(part if BARE_KEY.fullmatch(part) else quoted(part) for part in self.path)

    @property
    def raw(self) -> str | None:
        """The text of the environment variable that set exactly this key."""
        override = self.source.overrides.get(self.path)
        return None if override is None else override[1]

    def error(self, wrong: str, right: str) -> ConfigError:
        """What to raise about this key."""
        return ConfigError(self.file, self.key, wrong, right)

    def expand(self, text: str) -> str:
        """The text with every `${NAME}` put in. Raises ConfigError that names a variable that is not set."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in self.source.environ:
                raise self.error(
                    f"the environment variable {match[1]} is not set", "set it, or take the key out"
                )
            return self.source.environ[match[1]]

        return REFERENCE.sub(value, text)


@dataclass(frozen=True, slots=True)
class EnvText:
    """A text whose `${NAME}`s are put in when it is used: `explain` needs no provider's host or password."""

    text: str
    place: Place = field(repr=False, compare=False)

    def resolve(self) -> str:
        """The text, complete and not empty. Raises ConfigError where a variable is not set."""
        resolved = self.place.expand(self.text)
        if not resolved.strip():
            raise self.place.error("is empty", "give it a value, or take the key out")
        return resolved


@dataclass(frozen=True, slots=True, repr=False)
class Secret(EnvText):
    """The same, and never shown."""

    def __repr__(self) -> str:
        return "Secret(***)"


def quoted(value: object) -> str:
    """A value the way an error repeats it: on one line, and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= QUOTED_MAX else text[:QUOTED_MAX] + "…"


def suggestion(word: str, known: Iterable[str]) -> str:
    """What would be right instead of a word that is not known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {quoted(close[0])}?" if close else f"known: {', '.join(known) or 'none'}"
