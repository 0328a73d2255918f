"""How a value of the configuration is read: one reader per type, `(value as TOML gave it, its place) -> value`.

A reader raises ConfigError. `table` reads a dataclass, field by field: its annotations say which readers, its
defaults which keys may be left out. Which keys there are is in `config_schema`; this file knows about types only.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from datetime import timedelta
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from domain.content import Address
from domain.rate_limit import Rate
from entrypoints.addresses import BadAddress, parse_address
from entrypoints.config_source import ConfigError, EnvText, Place, Secret, Token, quoted, suggestion
from entrypoints.quantities import parse_duration

COUNT_MAX = 1_000_000_000
"""The largest number that any key may have: keeps arithmetic far from every limit of storage."""

T = TypeVar("T")
Reader = Callable[[object, Place], T]


def text(value: object, place: Place) -> str:
    """A text that is not empty, `${NAME}` put in."""
    return EnvText(_written(value, place), place).resolve()


def env_text(value: object, place: Place) -> EnvText:
    """A text that is completed when it is used."""
    return EnvText(_written(value, place), place)


def secret(value: object, place: Place) -> Secret:
    """A text that is completed when it is used, and shown to nobody."""
    return Secret(_written(value, place), place)


def token(value: object, place: Place) -> Token:
    """The same, for what goes into a header."""
    return Token(_written(value, place), place)


def _written(value: object, place: Place) -> str:
    # A password of digits would be a number as TOML; in an environment variable all is text to begin with.
    if not isinstance(value, str):
        if place.raw is None or isinstance(value, list | dict):
            raise _wrong_type(value, place, "a text", 'write it in quotes, like "text"')
        value = place.raw
    if not value.strip():
        raise place.error("is empty", "give it a value, or take the key out")
    return value


def flag(value: object, place: Place) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong_type(value, place, "true or false", "write true or false, without quotes")
    return value


def whole(value: object, place: Place, *, most: int = COUNT_MAX) -> int:
    """A whole number from 1."""
    right = f"write a whole number from 1 to {most}, without quotes"
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(value, place, "a whole number", right)
    if not 1 <= value <= most:
        raise place.error(f"{value} is out of range", right)
    return value


def fraction(value: object, place: Place) -> float:
    """A number above 0, at most 1."""
    right = "write a number above 0 and at most 1, like 0.5"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(value, place, "a number", right)
    if not 0 < value <= 1:
        raise place.error(f"{value} is out of range", right)
    return float(value)


def parsed(parse: Callable[[str], T]) -> Reader[T]:
    """A reader of texts that `parse` understands. Its ValueError says `what is wrong; what would be right`."""

    def read(value: object, place: Place) -> T:
        # `timeout = 30` gets the parser's answer: it says which unit is missing, not just that a text is.
        plain = str(value) if type(value) in (int, float) else text(value, place)
        try:
            return parse(plain)
        except ValueError as error:
            wrong, _, right = str(error).partition("; ")
            raise place.error(wrong, right) from None

    return read


def rates(value: object, place: Place) -> tuple[Rate, ...]:
    """One rate or a list of them: all hold."""
    read = parsed(Rate.parse)
    return tuple(read(one, place) for one in (value if isinstance(value, list) else [value]))


def texts(value: object, place: Place) -> tuple[str, ...]:
    """A list of texts, at least one."""
    right = f'write a list of texts, like {place.path[-1]} = ["one", "two"]'
    if not isinstance(value, list):
        raise _wrong_type(value, place, "a list", right)
    if not value:
        raise place.error("is an empty list", right)
    return tuple(text(one, place) for one in value)


def names(value: object, place: Place) -> tuple[str, ...]:
    """A list of texts, at least one, each once."""
    found = texts(value, place)
    if twice := [name for name in found if found.count(name) > 1]:
        raise place.error(f"names {quoted(twice[0])} twice", "name each once")
    return found


def mailbox(value: object, place: Place) -> Address:
    """`Shop <shop@example.org>`."""
    written = text(value, place)
    try:
        return parse_address(written)
    except BadAddress as error:
        wrong = f"{quoted(written)} is not an address: {error.reason}".rstrip(".")
        raise place.error(wrong, 'write it like "Shop <shop@example.org>"') from None


def path(value: object, place: Place) -> Path:
    """A path; a relative one starts at the folder of the configuration file."""
    return place.source.folder / text(value, place)


def choice(kind: type[Enum]) -> Reader[Enum]:
    """A reader of one of the words of an enum: its values, or the names of one that is counted."""
    words = {(one.name.lower() if issubclass(kind, IntEnum) else str(one.value)): one for one in kind}

    def read(value: object, place: Place) -> Enum:
        word = text(value, place)
        if word not in words:
            raise place.error(f"{quoted(word)} is not a choice", f"choose one of: {', '.join(words)}")
        return words[word]

    return read


def mapping(value: object, place: Place) -> Mapping[str, object]:
    """A TOML table as it is."""
    if not isinstance(value, dict):
        raise _wrong_type(value, place, "a table", f"write it as [{place.key}]")
    return value


def keys(kind: type) -> Mapping[str, dataclasses.Field[Any]]:
    """The keys of a dataclass as a TOML table: a field's name, or its `metadata["key"]`."""
    fields = dataclasses.fields(typing.cast(Any, kind))
    return {field.metadata.get("key", field.name): field for field in fields}


def table(kind: type[T], value: object, place: Place, **known: object) -> T:
    """A dataclass from a TOML table; `known` fields have no key in it."""
    fields = {key: field for key, field in keys(kind).items() if field.name not in known}
    given = mapping(value, place)
    for key in given:
        if key not in fields:
            raise (place / key).error("unknown key", suggestion(key, fields))
    types = _hints(typing.cast(Any, kind))
    read = dict(known)
    for key, field in fields.items():
        if key in given:
            read[field.name] = reader(types[field.name])(given[key], place / key)
        elif isinstance(field.default, Path):
            read[field.name] = place.source.folder / field.default
        elif field.default is MISSING and field.default_factory is MISSING:
            raise (place / key).error("is missing", f"write {key} = {field.metadata['example']}")
    return kind(**read)


READERS: dict[object, Reader[Any]] = {
    str: text,
    EnvText: env_text,
    Secret: secret,
    Token: token,
    bool: flag,
    int: whole,
    float: fraction,
    timedelta: parsed(parse_duration),
    tuple[Rate, ...]: rates,
    tuple[str, ...]: names,
    Address: mailbox,
    Path: path,
}


@cache
def reader(kind: Any) -> Reader[Any]:
    """The reader for an annotation: `Annotated` names its own, `X | None` is read as X (a key left out is None)."""
    if typing.get_origin(kind) is typing.Annotated:
        return typing.cast(Reader[Any], kind.__metadata__[0])
    if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
        (inner,) = (one for one in typing.get_args(kind) if one is not NoneType)
        return reader(inner)
    if kind in READERS:
        return READERS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return choice(kind)
    return lambda value, place: table(kind, value, place)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _wrong_type(value: object, place: Place, wanted: str, right: str) -> ConfigError:
    """About a value of the wrong type. It is not repeated: it may be a secret that lacks its quotes."""
    words = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a table",
    }
    return place.error(f"{words.get(type(value), 'a date or time')} stands where {wanted} belongs", right)
