"""The same events in the `eventsourcing` library, with its own recorder, mapper and transcoder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec
from sqlalchemy import make_url

from application.recorded import Recorded

TOGETHER = 1000
"""Events that are stored, and read, at a time."""

NAMES = UUID("6f1c7f6a-3c55-4c3e-9f2b-6a5d0a7e51a1")


class Peer:
    """An application of the library on an empty database. Raises ImportError where it isn't installed."""

    def __init__(self, url: str) -> None:
        self._domain = importlib.import_module("eventsourcing.domain")
        if not url.startswith("sqlite"):
            importlib.import_module("psycopg_pool")  # it says so in another way
        # Kept: it closes its connections once nobody has it.
        self._application = importlib.import_module("eventsourcing.application").Application(
            _environment(url)
        )
        self._recorder, self._mapper = self._application.recorder, self._application.mapper
        self._classes: dict[str, Any] = {}
        self._count = 0

    def store(self, events: Iterable[Recorded]) -> None:
        """Record them, with the same fields in the same words."""
        waiting: list[Any] = []
        for one in events:
            waiting.append(self._mapper.to_stored_event(self._theirs(one)))
            self._count += 1
            if len(waiting) == TOGETHER:
                self._recorder.insert_events(waiting)
                waiting = []
        if waiting:
            self._recorder.insert_events(waiting)

    def replay(self) -> int:
        """Read every event of the log; how many there were."""
        after = count = 0
        while after < self._count:
            notifications = self._recorder.select_notifications(after + 1, TOGETHER)
            count += len([self._mapper.to_domain_event(one) for one in notifications])
            after = notifications[-1].id
        return count

    def _theirs(self, one: Recorded) -> Any:
        # Times inside are texts: what its transcoder would do with them costs it more.
        fields = msgspec.to_builtins(one.event)
        name = type(one.event).__name__
        cls = self._classes.get(name)
        if cls is None:
            known = {
                "__module__": __name__,
                "__qualname__": name,
                "__annotations__": dict.fromkeys(fields, Any),
            }
            cls = self._classes[name] = type(name, (self._domain.DomainEvent,), known)
            setattr(sys.modules[__name__], name, cls)  # it finds its classes by their names
        return cls(
            originator_id=uuid5(NAMES, one.stream),
            originator_version=one.version,
            timestamp=datetime.fromisoformat(one.at.isoformat()),
            **fields,
        )


def _environment(url: str) -> dict[str, str]:
    at = make_url(url)
    if at.get_backend_name() == "sqlite":
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(at.database)}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(at.database),
        "POSTGRES_HOST": str(at.host or at.query["host"]),
        "POSTGRES_PORT": str(at.port or 5432),
        "POSTGRES_USER": str(at.username),
        "POSTGRES_PASSWORD": at.password or "",
    }
