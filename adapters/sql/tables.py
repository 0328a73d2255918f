"""The tables, for both databases. What others may read: `events`, `emails`, `attempts`; the rest is ours.

Text that is compared or ordered collates by code point ("C"), as Python sorts, so that every writer locks rows
in the same order. Times are `timestamptz` on PostgreSQL; on SQLite text of one fixed width, with microseconds
and a `Z`, which sorts as the times do. JSON is text: what was hashed stays as it was written.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION = "0003"
"""The migration that these tables are the result of."""

ID = Text().with_variant(Text(collation="C"), "postgresql")
TIME = DateTime(timezone=True).with_variant(Text(), "sqlite")
COUNTER = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is SQLite's own row number

# Few rows, rewritten by every transaction: room on the page keeps the updates out of the indexes.
OFTEN_UPDATED = {"fillfactor": "10", "autovacuum_vacuum_threshold": "200"}

# Every email leaves dead rows at the head of the queue's indexes: vacuum long before a fifth of it is dead.
QUEUE = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}

# Rows that never change are frozen soon, a part at a time, instead of all of them when transaction ids run out.
APPENDED = {
    "autovacuum_vacuum_insert_scale_factor": "0",
    "autovacuum_vacuum_insert_threshold": "100000",
    "autovacuum_freeze_min_age": "0",
}

# As many are deleted as are put in, weeks later: their room is used again before a fifth of the table is free.
ERASED_SHARE = {"autovacuum_vacuum_scale_factor": "0.05"}
ERASED = {**APPENDED, **ERASED_SHARE, "toast.autovacuum_vacuum_scale_factor": "0.05"}

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("position", COUNTER, primary_key=True, autoincrement=True),
    Column("event_id", ID, nullable=False),
    Column("stream", ID, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", TIME, nullable=False),
    Column("meta", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("event_id", name="events_event_id_key"),
    UniqueConstraint("stream", "version", name="events_stream_version_key"),
    postgresql_with=APPENDED,
)

emails = Table(
    "emails",
    metadata,
    Column("email_id", ID, primary_key=True),
    Column("client_id", Text, nullable=False),  # as the log has it: one with an "@" as a digest
    Column("tenant", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("status", ID, nullable=False),
    Column("provider", ID),  # the last one attempted
    Column("priority", SmallInteger, nullable=False),
    Column("lane", ID),  # none unless it waits for an attempt
    Column("due_at", TIME),
    Column("deadline_at", TIME),  # when something is to be decided whatever the providers do
    Column("requested_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
    Column("send_at", TIME),
    Column("expires_at", TIME, nullable=False),
    Column("resolve_by", TIME),
    Column("recipients", Text, nullable=False),  # JSON: the outcome of each, by index
    Column("attempts", Integer, nullable=False),
    Column("held", Text),
    Column("fail_reason", Text),
    Column("correlation_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    postgresql_with=QUEUE,
)
_lane, _deadline = emails.c.lane.is_not(None), emails.c.deadline_at.is_not(None)
Index(
    "emails_waiting",
    emails.c.lane,
    emails.c.priority,
    emails.c.due_at,
    emails.c.email_id,  # an order even among a million that were scheduled for the same moment
    sqlite_where=_lane,
    postgresql_where=_lane,
)
Index(
    "emails_deadline",
    emails.c.deadline_at,
    emails.c.email_id,
    sqlite_where=_deadline,
    postgresql_where=_deadline,
)
Index("emails_newest", emails.c.requested_at, emails.c.email_id)
Index("emails_status", emails.c.status, emails.c.requested_at, emails.c.email_id)
_tried = emails.c.provider.is_not(None)
Index(
    "emails_provider",
    emails.c.provider,
    emails.c.requested_at,
    emails.c.email_id,
    sqlite_where=_tried,
    postgresql_where=_tried,
)

attempts = Table(
    "attempts",
    metadata,
    Column("email_id", ID, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # open, sent, partly_sent, failed, uncertain
    Column("kind", Text),
    Column("code", Text),
    Column("worker", ID, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("recipients", Text, nullable=False),  # JSON: the indexes it carried
    Column("started_at", TIME, nullable=False),
    Column("finished_at", TIME),
    PrimaryKeyConstraint("email_id", "attempt", name="attempts_pkey"),
    sqlite_with_rowid=False,
    postgresql_with=QUEUE,
)
_open = attempts.c.outcome == text("'open'")
Index("attempts_open", attempts.c.worker, attempts.c.token, sqlite_where=_open, postgresql_where=_open)

gates = Table(
    "gates",
    metadata,
    Column("name", ID, primary_key=True),
    Column("circuit", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("open_attempts", Integer, nullable=False),
    Column("not_before", TIME),
    Column("last_at", TIME),
    Column("position", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # JSON: all of it; the columns before are for reading
    postgresql_with=OFTEN_UPDATED,
)

leases = Table(
    "leases",
    metadata,
    Column("token", COUNTER, primary_key=True, autoincrement=True),
    Column("worker", ID, nullable=False),
    Column("seen_at", TIME, nullable=False),
    sqlite_autoincrement=True,  # a token is never given twice, not even that of the last row deleted
    postgresql_with=OFTEN_UPDATED,
)

contents = Table(
    "contents",
    metadata,
    Column("email_id", ID, primary_key=True),
    Column("key", Text, nullable=False),  # the client's id as it was given
    Column("blobs", Integer, nullable=False),  # how many; mostly none, and then nobody looks for them
    Column("content", Text, nullable=False),
    postgresql_with=ERASED,
)
blobs = Table(
    "blobs",
    metadata,
    Column("digest", ID, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    postgresql_with=ERASED,
)
content_blobs = Table(
    "content_blobs",
    metadata,
    Column("email_id", ID, nullable=False),
    Column("digest", ID, nullable=False),
    PrimaryKeyConstraint("email_id", "digest", name="content_blobs_pkey"),
    sqlite_with_rowid=False,
    postgresql_with=ERASED_SHARE,
)
Index("content_blobs_digest", content_blobs.c.digest)

checks = Table(
    "checks",
    metadata,
    Column("name", ID, primary_key=True),
    Column("at", TIME, nullable=False),  # written only to see that it can be
    postgresql_with=OFTEN_UPDATED,
)

# Reports: sums over all streams, behind the log. Rows of a build that no checkpoint names are being swept away.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("name", ID, primary_key=True),
    Column("position", BigInteger, nullable=False),  # every event up to here is in the rows of its build
    Column("at", TIME, nullable=False),  # when it was moved last, and by whom
    Column("build", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    postgresql_with=OFTEN_UPDATED,
)

# Only the rows of the present hour are rewritten, but those at every page.
COUNTED = {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.05"}

tallies = Table(
    "tallies",
    metadata,
    Column("build", Integer, nullable=False),
    Column("hour", TIME, nullable=False),
    Column("provider", ID, nullable=False),  # empty: none was attempted yet
    Column("route", ID, nullable=False),
    Column("measure", ID, nullable=False),
    Column("kind", ID, nullable=False),  # empty where the measure has none
    Column("bucket", SmallInteger, nullable=False),  # of the delay, where something was sent; else 0
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint(
        "build", "hour", "provider", "route", "measure", "kind", "bucket", name="tallies_pkey"
    ),
    sqlite_with_rowid=False,
    postgresql_with=COUNTED,
)

tag_tallies = Table(
    "tag_tallies",
    metadata,
    Column("build", Integer, nullable=False),
    Column("hour", TIME, nullable=False),
    Column("tag", ID, nullable=False),
    Column("measure", ID, nullable=False),
    Column("kind", ID, nullable=False),
    Column("bucket", SmallInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("build", "hour", "tag", "measure", "kind", "bucket", name="tag_tallies_pkey"),
    sqlite_with_rowid=False,
    postgresql_with=COUNTED,
)

open_times = Table(
    "open_times",
    metadata,
    Column("build", Integer, nullable=False),
    Column("hour", TIME, nullable=False),
    Column("provider", ID, nullable=False),
    Column("us", BigInteger, nullable=False),  # of circuits that are closed again
    PrimaryKeyConstraint("build", "hour", "provider", name="open_times_pkey"),
    sqlite_with_rowid=False,
)
open_circuits = Table(
    "open_circuits",
    metadata,
    Column("build", Integer, nullable=False),
    Column("provider", ID, nullable=False),
    Column("since", TIME, nullable=False),
    PrimaryKeyConstraint("build", "provider", name="open_circuits_pkey"),
    sqlite_with_rowid=False,
)

delay_buckets = Table(
    "delay_buckets",
    metadata,
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("upper_us", BigInteger, nullable=False),
    Column("middle_us", BigInteger, nullable=False),
)
