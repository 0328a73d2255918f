"""The stores on SQLite and PostgreSQL."""

from adapters.sql.engine import STALL_S, Database
from adapters.sql.event_store import SqlEventStore
from application.ports import Clock
from domain.circuit import CircuitPolicy

__all__ = ["SqlEventStore", "open_store"]

BY_DEFAULT = CircuitPolicy()


def open_store(
    url: str,
    *,
    clock: Clock | None = None,
    circuit: CircuitPolicy = BY_DEFAULT,
    stall_s: float = STALL_S,
    read_only: bool = False,
) -> SqlEventStore:
    """The event store of a migrated database, `sqlite:///file` or `postgresql://…`; nothing is opened yet.

    `clock` stands in for the database's own. `circuit` says in which window gates count. `stall_s` bounds every
    wait for a lock, a connection, or the network, in seconds. `read_only`: SQLite beside the process that writes.
    Raises ValueError for a URL of another kind.
    """
    return SqlEventStore(Database(url, stall_s=stall_s, read_only=read_only), clock=clock, circuit=circuit)
