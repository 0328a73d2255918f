"""Where reports are kept on either database: counts, and the checkpoints that say which events are in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta

from adapters.sql import log, tables
from adapters.sql.dialect import Insert, Sql, maybe_time_of, time_of
from adapters.sql.engine import Database, Rows, Session
from application.projections.reports import Increments
from application.recorded import Recorded
from application.report_ports import REPORTS, Progress

Now = Callable[[Session], datetime]

PROGRESS = Sql("""
    SELECT c.position, c.build, c.holder, c.at, (SELECT coalesce(max(position), 0) FROM events),
        (SELECT at FROM events WHERE position > c.position ORDER BY position LIMIT 1)
    FROM checkpoints c WHERE c.name = :name
""")
OPEN_CIRCUITS = Sql("SELECT provider, since FROM open_circuits WHERE build = :build")
TAGS = Sql("SELECT DISTINCT tag FROM tag_tallies WHERE build = :build AND hour = :hour")

STREAM, VERSION = 2, 3
HISTORIES = Sql(f"SELECT {log.COLUMNS} FROM events WHERE stream = ANY(:streams) ORDER BY stream, version")

# Whoever comes second finds no row, and nobody waits.
HOLD = Sql("""
    SELECT 1 FROM checkpoints WHERE name = :name AND build = :build AND position = :position
    FOR UPDATE SKIP LOCKED
""")
MOVE = Sql("UPDATE checkpoints SET position = :to, at = :now, holder = :holder WHERE name = :name")
# What is lost with a crash of the server is lost as a whole, and projected again.
LAZILY = Sql("SELECT set_config('synchronous_commit', 'off', true)")

LAST_BUILD = Sql("SELECT max(build) FROM checkpoints")
BEGIN = Sql("""
    INSERT INTO checkpoints (name, position, at, build, holder) VALUES (:name, 0, :now, :build, '')
    ON CONFLICT (name) DO UPDATE SET position = 0, at = excluded.at, build = excluded.build, holder = ''
""")
BOTH = Sql("SELECT name, position, build FROM checkpoints ORDER BY name FOR UPDATE")
END = Sql("DELETE FROM checkpoints WHERE name = :name")
SWAP = Sql("UPDATE checkpoints SET position = :position, build = :build, at = :now WHERE name = :name")

ADDING = " DO UPDATE SET n = {0}.n + excluded.n"
TALLIES = Insert.into(
    tables.tallies, "(build, hour, provider, route, measure, kind, bucket)" + ADDING.format("tallies")
)
TAG_TALLIES = Insert.into(
    tables.tag_tallies, "(build, hour, tag, measure, kind, bucket)" + ADDING.format("tag_tallies")
)
OPEN_TIMES = Insert.into(
    tables.open_times, "(build, hour, provider) DO UPDATE SET us = open_times.us + excluded.us"
)
OPENED = Insert.into(tables.open_circuits, "UPSERT")
CLOSED = Sql("DELETE FROM open_circuits WHERE build = :build AND provider = ANY(:providers)")

SWEPT_HOURS = timedelta(hours=6)
"""Of a build that nobody reads, one transaction deletes so much: with a thousand tags some 100,000 rows."""

OF_A_BUILD = {"tallies": True, "tag_tallies": True, "open_times": True, "open_circuits": False}
"""Tables with rows of a build, and whether they go by the hour."""

ORPHAN = {
    name: Sql(f"SELECT min(build) FROM {name} WHERE build NOT IN (SELECT build FROM checkpoints)")
    for name in OF_A_BUILD
}
OLDEST = {name: Sql(f"SELECT min(hour) FROM {name} WHERE build = :build") for name in OF_A_BUILD}
SWEEP = {
    name: Sql(f"DELETE FROM {name} WHERE build = :build" + (" AND hour < :until" if hourly else ""))
    for name, hourly in OF_A_BUILD.items()
}


class SqlReports:
    """A `ReportStore` (see there for what its methods promise). `now` asks the database's clock."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def progress(self, name: str) -> Progress | None:
        return self._database.read(lambda session: progress_of(session, name, self._now(session)))

    def open_circuits(self, build: int) -> dict[str, datetime]:
        rows = self._database.read(lambda session: session.rows(OPEN_CIRCUITS, build=build))
        return {provider: time_of(since) for provider, since in rows}

    def tags(self, build: int, hours: Collection[datetime]) -> dict[datetime, set[str]]:
        def read(session: Session) -> dict[datetime, set[str]]:
            return {hour: {row[0] for row in session.rows(TAGS, build=build, hour=hour)} for hour in hours}

        return self._database.read(read)

    def histories(self, until: Mapping[str, int]) -> list[Recorded]:
        rows = self._database.read(lambda session: session.rows(HISTORIES, streams=list(until)))
        return [log.recorded_of(row) for row in rows if row[VERSION] <= until[row[STREAM]]]

    def advance(self, name: str, *, build: int, after: int, to: int, holder: str, added: Increments) -> bool:
        def move(session: Session) -> bool:
            if not session.rows(HOLD, name=name, build=build, position=after):
                return False
            if session.kind == "postgresql":
                session.rows(LAZILY)
            session.run(MOVE, name=name, to=to, now=self._now(session), holder=holder)
            _add(session, build, added)
            return True

        return self._database.write(move)

    def begin(self, name: str) -> Progress:
        def begin(session: Session) -> Progress:
            session.rows(BOTH)
            build = session.value(LAST_BUILD) + 1
            session.run(BEGIN, name=name, build=build, now=self._now(session))
            begun = progress_of(session, name, self._now(session))
            assert begun is not None
            return begun

        return self._database.write(begin)

    def swap(self, name: str, *, build: int, position: int) -> bool:
        def swap(session: Session) -> bool:
            found: Mapping[str, tuple[int, int]] = {row[0]: (row[1], row[2]) for row in session.rows(BOTH)}
            if found.get(name) != (position, build) or found[REPORTS][0] > position:
                return False
            session.run(END, name=name)
            session.run(SWAP, name=REPORTS, position=position, build=build, now=self._now(session))
            return True

        return self._database.write(swap)

    def sweep(self) -> int:
        return self._database.write(lambda session: next(_swept(session), 0))


def progress_of(session: Session, name: str, now: datetime) -> Progress | None:
    """How far the projection of that name is, by this snapshot."""
    rows = session.rows(PROGRESS, name=name)
    if not rows:
        return None
    position, build, holder, at, last_position, oldest_at = rows[0]
    return Progress(
        position=position,
        build=build,
        holder=holder,
        idle=now - time_of(at),
        last_position=last_position,
        oldest_at=maybe_time_of(oldest_at),
    )


def _add(session: Session, build: int, added: Increments) -> None:
    """Add to the rows of a build, whose checkpoint is held: nobody else writes them."""
    stamp = session.stamp
    session.insert(
        TALLIES,
        [
            (build, stamp(hour), provider, route, measure.value, kind, bucket, n)
            for (hour, provider, route, measure, kind, bucket), n in added.tallies.items()
        ],
    )
    session.insert(
        TAG_TALLIES,
        [
            (build, stamp(hour), tag, measure.value, kind, bucket, n)
            for (hour, tag, measure, kind, bucket), n in added.tags.items()
        ],
    )
    session.insert(
        OPEN_TIMES, [(build, stamp(hour), provider, us) for (hour, provider), us in added.open_us.items()]
    )
    opened: Rows = []
    closed: list[str] = []
    for provider, since in added.circuits.items():
        if since is None:
            closed.append(provider)
        else:
            opened.append((build, provider, stamp(since)))
    session.insert(OPENED, opened)
    if closed:
        session.run(CLOSED, build=build, providers=closed)


def _swept(session: Session) -> Iterator[int]:
    """Deletes a part of the first table that has something to delete."""
    for table, hourly in OF_A_BUILD.items():
        build = session.value(ORPHAN[table])
        if build is None:
            continue
        if hourly:
            oldest = time_of(session.value(OLDEST[table], build=build))
            yield session.run(SWEEP[table], build=build, until=oldest + SWEPT_HOURS)
        else:
            yield session.run(SWEEP[table], build=build)
