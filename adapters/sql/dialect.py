"""What differs between SQLite and PostgreSQL, said once: statements, values, locks, errors.

Statements are written for both, with named parameters and, where the databases differ, in PostgreSQL's terms:

- `= ANY(:ids)` takes a list of texts, `EACH(:ids) AS t(id)` makes a table of it;
- `FOR UPDATE`, `FOR SHARE`, `SKIP LOCKED` lock rows; SQLite's one writer needs none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Boolean, DateTime, Integer, LargeBinary, SmallInteger, Table
from sqlalchemy.types import BigInteger, TypeEngine

Kind = Literal["sqlite", "postgresql"]

REBUILDING = 0x5354_4147_0001
"""Advisory lock: held shared by every writing transaction, exclusively by whoever swaps a view."""

MIGRATING = 0x5354_4147_0002
"""Advisory lock: one migration at a time."""

SERIALIZATION_FAILURE, DEADLOCK, UNIQUE_VIOLATION = "40001", "40P01", "23505"
REPEATABLE = frozenset(
    (
        SERIALIZATION_FAILURE,
        DEADLOCK,
        UNIQUE_VIOLATION,
        "SQLITE_CONSTRAINT_UNIQUE",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "SQLITE_CONSTRAINT_TRIGGER",  # it looks before the keys do
    )
)
"""Failures that the same transaction may survive next time, knowing what is there by then."""

BEGIN_WRITING: dict[Kind, str] = {
    "sqlite": "BEGIN IMMEDIATE",
    # The transaction has its id before it draws a position: what follows the log relies on it.
    "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock_shared({REBUILDING}), pg_current_xact_id()",
}
BEGIN_READING: dict[Kind, str] = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}

END_WITHOUT_WRITING: dict[Kind, str] = {
    "sqlite": "COMMIT",
    # Even row locks alone would have it wait for the disk, at every look of every idle worker.
    "postgresql": "SET LOCAL synchronous_commit = off; COMMIT",
}

_ANY = re.compile(r"= ANY\(:(\w+)\)")
_EACH = re.compile(r"EACH\(:(\w+)\) AS (\w+)\((\w+)\)")
_LOCK = re.compile(r"\s+FOR (UPDATE|SHARE|KEY SHARE)( OF \w+)?( SKIP LOCKED)?")
_PARAMETER = re.compile(r"(?<!:):(\w+)")


class Sql:
    """One statement, as each database wants it."""

    def __init__(self, text: str) -> None:
        self.writes = text.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "DELETE")
        lite = _ANY.sub(r"IN (SELECT value FROM json_each(:\1))", text)
        lite = _EACH.sub(r"(SELECT value AS \3 FROM json_each(:\1)) AS \2", lite)
        great = _ANY.sub(r"= ANY(%(\1)b::text[])", text)
        great = _EACH.sub(r"unnest(%(\1)b::text[]) AS \2(\3)", great)
        self.text: dict[Kind, str] = {
            "sqlite": _LOCK.sub("", lite),
            "postgresql": _PARAMETER.sub(r"%(\1)s", great),
        }


@lru_cache(maxsize=1024)
def stamp(at: datetime | None) -> str | None:
    """A time as SQLite has it. Raises ValueError for one without a zone.

    Put together by hand, and kept: `isoformat` takes a tenth of the time an email takes in all, six times.
    """
    if at is None:
        return None
    if at.tzinfo is not UTC:
        if at.tzinfo is None:
            raise ValueError(f"{at} has no time zone")
        at = at.astimezone(UTC)
    minute = _minute(at.year, at.month, at.day, at.hour, at.minute)
    return f"{minute}{at.second:02}.{at.microsecond:06}Z"


@lru_cache(maxsize=1024)
def _minute(*parts: int) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:".format(*parts)


def time_of(value: str | datetime) -> datetime:
    """A time as it was read, in UTC."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def maybe_time_of(value: str | datetime | None) -> datetime | None:
    """A time that may be absent, as it was read."""
    return None if value is None else time_of(value)


def parameters(kind: Kind, values: dict[str, Any]) -> dict[str, Any]:
    """Named values as the driver takes them."""
    if kind == "postgresql":
        return values
    return {name: _for_sqlite(value) for name, value in values.items()}


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, list):
        return json.dumps(value)
    return value


@dataclass(frozen=True, slots=True)
class Insert:
    """Puts rows into a table, in the order given: all of its columns, in their order.

    On PostgreSQL each column is one binary array: a tenth of the driver's work for single values, and one
    statement however many rows.
    """

    text: dict[Kind, str]

    @classmethod
    def into(cls, table: Table, conflict: str = "") -> Insert:
        """`conflict` is what follows ON CONFLICT; UPSERT replaces all that is not in the primary key."""
        names = [column.name for column in table.columns]
        if conflict:
            conflict = " ON CONFLICT " + conflict.replace("UPSERT", _upsert(table))
        into = f"INSERT INTO {table.name} ({', '.join(names)})"
        marks = ", ".join("?" * len(names))
        arrays = ", ".join(f"%b::{_array(column.type)}" for column in table.columns)
        return cls(
            {
                "sqlite": f"{into} VALUES ({marks}){conflict}",
                "postgresql": f"{into} SELECT * FROM unnest({arrays}){conflict}",
            }
        )

    def values(self, kind: Kind, rows: list[tuple[Any, ...]]) -> Any:
        """The rows as the driver takes them."""
        return rows if kind == "sqlite" else tuple(map(list, zip(*rows, strict=True)))


def _upsert(table: Table) -> str:
    keys = [column.name for column in table.primary_key.columns]
    sets = ", ".join(f"{one.name} = excluded.{one.name}" for one in table.columns if one.name not in keys)
    return f"({', '.join(keys)}) DO UPDATE SET {sets}"


def _array(column: TypeEngine[Any]) -> str:
    for kind, name in _ARRAYS:
        if isinstance(column, kind):
            return name
    return "text[]"


_ARRAYS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (SmallInteger, "int2[]"),
    (BigInteger, "int8[]"),
    (Integer, "int4[]"),
    (DateTime, "timestamptz[]"),
    (LargeBinary, "bytea[]"),
    (Boolean, "bool[]"),
)
