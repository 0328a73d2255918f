"""A look past the store, at the rows themselves, as somebody with a database client would take it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import make_url

from adapters import codec

Row = tuple[Any, ...]


def execute(url: str, statement: str, *values: object) -> list[Row]:
    """Run one statement (`?` for values) in a transaction of its own; the rows, where it gives some."""
    with _connection(url) as connection:
        text = statement if url.startswith("sqlite") else statement.replace("?", "%s")
        cursor = connection.execute(text, values)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@contextmanager
def _connection(url: str) -> Iterator[Any]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(make_url(url).database), timeout=5)) as sqlite, sqlite:
            yield sqlite
    else:
        with psycopg.connect(url) as postgres:
            yield postgres


class Link(NamedTuple):
    """An event's row, as it is hashed."""

    stream: str
    version: int
    event_id: str
    type: str
    at: int
    meta: str
    data: str
    hash: bytes


def links(url: str) -> list[Link]:
    """Every event, by stream and version."""
    rows = execute(
        url,
        "SELECT stream, version, event_id, type, at, meta, data, hash FROM events ORDER BY stream, version",
    )
    return [Link(*row)._replace(at=micros(row[4]), hash=bytes(row[7])) for row in rows]


def micros(at: object) -> int:
    """A time as a row has it, in µs since 1970."""
    match at:
        case datetime():
            return codec.micros(at)
        case str():
            return codec.micros(datetime.fromisoformat(at))
        case int():
            return at
        case _:
            raise TypeError(f"{at!r} is no time")


def broken_links(url: str) -> list[tuple[str, int]]:
    """(stream, version) of every event whose hash isn't the one its row and the row before it give."""
    broken: list[tuple[str, int]] = []
    before: Link | None = None
    for link in links(url):
        follows = before is not None and before.stream == link.stream
        previous = before.hash if before is not None and follows else codec.GENESIS
        expected = before.version + 1 if before is not None and follows else 1
        fields = link._asdict()
        stored = fields.pop("hash")
        if link.version != expected or stored != codec.chain(previous, **fields):
            broken.append((link.stream, link.version))
        before = link
    return broken
