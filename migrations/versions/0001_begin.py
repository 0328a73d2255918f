"""The log, its inline views, leases and contents; and the triggers that keep the log append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OFTEN_UPDATED = {"fillfactor": "10", "autovacuum_vacuum_threshold": "200"}
QUEUE = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}
TABLES = ("events", "emails", "attempts", "gates", "leases", "contents", "blobs", "content_blobs", "checks")

POSTGRESQL_TRIGGERS = """
    CREATE FUNCTION stagepost_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'events are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
    END
    $$;
    CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION stagepost_append_only();
    ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only
"""
SQLITE_TRIGGERS = {
    "events_no_update": """
        CREATE TRIGGER events_no_update BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'events are append-only: UPDATE is refused'); END
    """,
    "events_no_delete": """
        CREATE TRIGGER events_no_delete BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'events are append-only: DELETE is refused'); END
    """,
    # INSERT OR REPLACE deletes what is in its way without asking the trigger above.
    "events_no_replace": """
        CREATE TRIGGER events_no_replace BEFORE INSERT ON events
        WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position)
            OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
            OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)
        BEGIN SELECT RAISE(ABORT, 'events are append-only: REPLACE is refused'); END
    """,
}


def upgrade() -> None:
    """Make everything."""
    _log()
    _views()
    _others()
    if op.get_context().dialect.name == "postgresql":
        op.execute(POSTGRESQL_TRIGGERS)
    else:
        for statement in SQLITE_TRIGGERS.values():
            op.execute(statement)


def downgrade() -> None:
    """Drop everything, the log included."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION stagepost_append_only()")


def _log() -> None:
    op.create_table(
        "events",
        sa.Column("position", COUNTER, autoincrement=True, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("stream", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("event_id", name="events_event_id_key"),
        sa.UniqueConstraint("stream", "version", name="events_stream_version_key"),
    )


def _views() -> None:
    op.create_table(
        "emails",
        sa.Column("email_id", ID, nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("status", ID, nullable=False),
        sa.Column("provider", ID),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("lane", ID),
        sa.Column("due_at", TIME),
        sa.Column("deadline_at", TIME),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("send_at", TIME),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("resolve_by", TIME),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("held", sa.Text()),
        sa.Column("fail_reason", sa.Text()),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("email_id"),
        postgresql_with=QUEUE,
    )
    op.create_index(
        "emails_deadline",
        "emails",
        ["deadline_at", "email_id"],
        unique=False,
        sqlite_where=sa.text("deadline_at IS NOT NULL"),
        postgresql_where=sa.text("deadline_at IS NOT NULL"),
    )
    op.create_index("emails_newest", "emails", ["requested_at", "email_id"], unique=False)
    op.create_index(
        "emails_provider",
        "emails",
        ["provider", "requested_at", "email_id"],
        unique=False,
        sqlite_where=sa.text("provider IS NOT NULL"),
        postgresql_where=sa.text("provider IS NOT NULL"),
    )
    op.create_index("emails_status", "emails", ["status", "requested_at", "email_id"], unique=False)
    op.create_index(
        "emails_waiting",
        "emails",
        ["lane", "priority", "due_at", "email_id"],
        unique=False,
        sqlite_where=sa.text("lane IS NOT NULL"),
        postgresql_where=sa.text("lane IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("email_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("worker", ID, nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.PrimaryKeyConstraint("email_id", "attempt", name="attempts_pkey"),
        postgresql_with=QUEUE,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "attempts_open",
        "attempts",
        ["worker", "token"],
        unique=False,
        sqlite_where=sa.text("outcome = 'open'"),
        postgresql_where=sa.text("outcome = 'open'"),
    )
    op.create_table(
        "gates",
        sa.Column("name", ID, nullable=False),
        sa.Column("circuit", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("open_attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", TIME),
        sa.Column("last_at", TIME),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        postgresql_with=OFTEN_UPDATED,
    )


def _others() -> None:
    op.create_table(
        "leases",
        sa.Column("token", COUNTER, autoincrement=True, nullable=False),
        sa.Column("worker", ID, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("token"),
        postgresql_with=OFTEN_UPDATED,
        sqlite_autoincrement=True,
    )
    op.create_table(
        "contents",
        sa.Column("email_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("blobs", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("email_id"),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", ID, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "content_blobs",
        sa.Column("email_id", ID, nullable=False),
        sa.Column("digest", ID, nullable=False),
        sa.PrimaryKeyConstraint("email_id", "digest", name="content_blobs_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_index("content_blobs_digest", "content_blobs", ["digest"], unique=False)
    op.create_table(
        "checks",
        sa.Column("name", ID, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        postgresql_with=OFTEN_UPDATED,
    )
