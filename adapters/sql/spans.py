"""Statements that read what lies between two emails' ids: their streams, and their rows in a table."""

from __future__ import annotations

from functools import lru_cache

from adapters.sql import tables
from adapters.sql.dialect import Sql
from application.recorded import CIRCUIT_PREFIX, EMAIL_PREFIX, email_stream


def _behind(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


STREAMS_END, CIRCUITS_END = _behind(EMAIL_PREFIX), _behind(CIRCUIT_PREFIX)
"""The first names behind those of all emails' streams, and of all circuits'."""


@lru_cache
def rows_between(
    table: str, columns: tuple[str, ...], *, low: bool, high: bool, limited: bool = False
) -> Sql:
    """The rows of a table above `:low`, up to `:high`, each of them where it is wanted; by the table's key.

    The first column is the key, or its first part.
    """
    conditions = ([f"{columns[0]} > :low"] if low else []) + ([f"{columns[0]} <= :high"] if high else [])
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(column.name for column in tables.metadata.tables[table].primary_key.columns)
    limit = " LIMIT :limit" if limited else ""
    return Sql(f"SELECT {', '.join(columns)} FROM {table}{where} ORDER BY {order}{limit}")


@lru_cache
def events_between(columns: str, *, low: bool, high: bool) -> Sql:
    """The next `:limit` events of emails' streams above `:low`, up to `:high`: stream by stream, by version."""
    begins = "stream > :low" if low else f"stream >= '{EMAIL_PREFIX}'"
    ends = "stream <= :high" if high else f"stream < '{STREAMS_END}'"
    return Sql(
        f"SELECT {columns} FROM events WHERE {begins} AND {ends} ORDER BY stream, version LIMIT :limit"
    )


def bounds(low: str | None, high: str | None) -> dict[str, str]:
    """The values for two ids, of which each may be absent."""
    return {name: value for name, value in (("low", low), ("high", high)) if value is not None}


def stream_bounds(low: str | None, high: str | None) -> dict[str, str]:
    """The values for the streams of two ids."""
    return {name: email_stream(value) for name, value in bounds(low, high).items()}
