"""Small months of mail (`benchmarks.month`) to look into or to spoil: made once a session, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import psycopg

from benchmarks.month import fill
from tests.postgres import PostgresServer

SEED = 34
"""Of a small month that has everything: attachments, erased contents, a circuit that opens, a paused provider."""


class Months:
    """Copies of months; `server` gives the PostgreSQL server once it is needed."""

    def __init__(self, folder: Path, server: Callable[[], PostgresServer]) -> None:
        self._folder = folder
        self._server = lru_cache(server)
        self._made: dict[tuple[str, int], str] = {}

    @contextmanager
    def copied(self, kind: str, folder: Path, events: int) -> Iterator[str]:
        """The URL of a database with about so many events, for as long as the block lasts."""
        made = self._made.get((kind, events))
        if made is None:
            made = self._made[kind, events] = self._make(kind, events)
        if kind == "postgresql":
            url = self._server().create(made)
            yield url
            self._server().drop(url)
        else:
            path = folder / "stagepost.db"
            shutil.copyfile(made.removeprefix("sqlite:///"), path)
            yield f"sqlite:///{path}"

    def _make(self, kind: str, events: int) -> str:
        url = self._server().create() if kind == "postgresql" else f"sqlite:///{self._folder}/{events}.db"
        fill(url, events, seed=SEED, careful=True)
        return url

    def drop(self) -> None:
        """Remove what was made on the server, if that is not gone as a whole."""
        for (kind, _), url in self._made.items():
            if kind == "postgresql":
                with suppress(psycopg.OperationalError):
                    self._server().drop(url)
