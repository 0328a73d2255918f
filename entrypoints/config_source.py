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
TOKEN = re.compile(r"[!-~]+")
"""What fits behind `Authorization: Bearer `."""

KeyPath = tuple[str, ...]
"""Where a key is, table by table."""


class ConfigError(Exception):
    """The configuration can't be used. One line: where (`file`, `key`), what is `wrong`, what would be `right`."""

    def __init__(self, file: str, key: str, wrong: str, right: str) -> None:
        line = ": ".join(part for part in (file, key, f"{wrong}; {right}") if part)
        super().__init__(" ".join(line.split()))
        self.file = file
        self.key = key
        self.wrong = wrong
        self.right = right


@dataclass(frozen=True, slots=True)
class Override:
    """What set a key path in the file's place: an environment variable, with this `text` for exactly this key.

    `literal`: no `${NAME}` is put into what it set.
    """

    variable: str
    text: str | None = field(default=None, repr=False)
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a configuration came from.

    Relative paths in it start at `folder`. `environ` is what `${NAME}` looks into. `overrides`: what environment
    variables set.
    """

    file: str
    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    overrides: Mapping[KeyPath, Override] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """One key of a source, however deep."""

    source: Source
    path: KeyPath = ()

    def __truediv__(self, key: str) -> Place:
        return Place(self.source, (*self.path, key))

    @property
    def file(self) -> str:
        """What to correct: the environment variable that set this key or a table around it, else the file."""
        override = self._override
        return self.source.file if override is None else override.variable

    @property
    def key(self) -> str:
        """`providers.primary.port`."""
        return ".".join(part if BARE_KEY.fullmatch(part) else quoted(part) for part in self.path)

    @property
    def raw(self) -> str | None:
        """The text of the environment variable that set exactly this key."""
        override = self.source.overrides.get(self.path)
        return None if override is None else override.text

    @property
    def _override(self) -> Override | None:
        """What set this key, or the innermost table around it."""
        around = (self.path[:length] for length in range(len(self.path), 0, -1))
        return next((self.source.overrides[path] for path in around if path in self.source.overrides), None)

    def error(self, wrong: str, right: str) -> ConfigError:
        """What to raise about this key."""
        return ConfigError(self.file, self.key, wrong, right)

    def expand(self, text: str) -> str:
        """The text with every `${NAME}` put in. Raises ConfigError that names a variable that is not set."""
        override = self._override
        if override is not None and override.literal:
            return text

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


class Token(Secret):
    """A secret that goes into a header."""

    __slots__ = ()

    def resolve(self) -> str:
        """The token. Raises ConfigError, also where a header can't hold it."""
        resolved = Secret.resolve(self)
        if not TOKEN.fullmatch(resolved):
            raise self.place.error("can't be sent as a token", "use printable ASCII without spaces")
        return resolved


def quoted(value: object) -> str:
    """A value the way an error repeats it: on one line, and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= QUOTED_MAX else text[:QUOTED_MAX] + "…"


def suggestion(word: str, known: Iterable[str]) -> str:
    """What would be right instead of a word that is not known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {quoted(close[0])}?" if close else f"known: {', '.join(known) or 'none'}"
