"""Reports: counts by hour with their checkpoint, and the views `report_*` that everybody may read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
OFTEN_UPDATED = {"fillfactor": "10", "autovacuum_vacuum_threshold": "200"}
COUNTED = {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.05"}
TABLES = ("checkpoints", "tallies", "tag_tallies", "open_times", "open_circuits", "delay_buckets")

BEGINNING = "1970-01-01T00:00:00.000000Z"
BUCKETS = 303

MEASURES = (
    "requested",
    "attempts",
    "sent",
    "partly_sent",
    "attempts_failed",
    "uncertain",
    "late_results",
    "switches",
    "duplicates_accepted",
    "held",
    "redriven",
    "failed",
    "cancelled",
)
BUILD = "build = (SELECT build FROM checkpoints WHERE name = 'reports')"


def _sums(table: str, names: str, shown: str) -> str:
    sums = ", ".join(
        f"CAST(sum(CASE WHEN measure = '{one}' THEN n ELSE 0 END) AS bigint) AS {one}" for one in MEASURES
    )
    return f"SELECT hour, {shown}, {sums} FROM {table} WHERE {BUILD} GROUP BY hour, {names}"


def _delays(table: str, names: str, shown: str) -> str:
    return f"""
        SELECT t.hour, {shown}, t.bucket, CAST(b.upper_us AS double precision) / 1000 AS upper_ms,
            CAST(b.middle_us AS double precision) / 1000 AS delay_ms,
            CAST(sum(t.n) AS bigint) AS emails
        FROM {table} t JOIN delay_buckets b ON b.bucket = t.bucket
        WHERE t.{BUILD} AND t.measure = 'sent'
        GROUP BY t.hour, {names}, t.bucket, b.upper_us, b.middle_us
    """


NONE = "NULLIF(provider, '') AS provider"
SQLITE_OPEN = f"""
    WITH RECURSIVE hours(provider, since, hour, until) AS (
        SELECT provider, since, substr(since, 1, 13) || ':00:00.000000Z',
            strftime('%Y-%m-%dT%H:00:00.000000Z', substr(since, 1, 19), '+1 hour')
        FROM open_circuits
        WHERE {BUILD} AND substr(since, 1, 19) <= strftime('%Y-%m-%dT%H:%M:%S', 'now')
        UNION ALL
        SELECT provider, since, until, strftime('%Y-%m-%dT%H:00:00.000000Z', substr(until, 1, 19), '+1 hour')
        FROM hours WHERE substr(until, 1, 19) < strftime('%Y-%m-%dT%H:%M:%S', 'now')
    ),
    parts(hour, provider, seconds) AS (
        SELECT hour, provider, us / 1000000.0 FROM open_times WHERE {BUILD}
        UNION ALL
        SELECT hour, provider, max(0.0, round(86400.0 * (
            min(julianday('now'), julianday(substr(until, 1, 19)))
            - julianday(max(substr(hour, 1, 23), substr(since, 1, 23)))), 3))
        FROM hours
    )
    SELECT hour, provider, sum(seconds) AS open_seconds FROM parts GROUP BY hour, provider
"""
POSTGRESQL_OPEN = f"""
    WITH hours AS (
        SELECT provider, since, hour
        FROM open_circuits, generate_series(date_trunc('hour', since, 'UTC'), now(), interval '1 hour') AS hour
        WHERE {BUILD}
    ),
    parts AS (
        SELECT hour, provider, us / 1000000.0 AS seconds FROM open_times WHERE {BUILD}
        UNION ALL
        SELECT hour, provider, greatest(0, extract(epoch FROM
            least(now(), hour + interval '1 hour') - greatest(hour, since)))
        FROM hours
    )
    SELECT hour, provider, CAST(sum(seconds) AS double precision) AS open_seconds
    FROM parts GROUP BY hour, provider
"""


def _views(dialect: str) -> dict[str, str]:
    """In the order they are made; each refers to earlier ones only."""
    sums = ", ".join(f"CAST(sum({one}) AS bigint) AS {one}" for one in MEASURES if one != "requested")
    zeros = ", ".join(f"coalesce(s.{one}, 0) AS {one}" for one in MEASURES if one != "requested")
    return {
        "report_hourly": _sums("tallies", "provider, route", f"{NONE}, route"),
        "report_tags": _sums("tag_tallies", "tag", "tag"),
        "report_kinds": f"""
            SELECT hour, {NONE}, route, measure, kind, CAST(sum(n) AS bigint) AS count
            FROM tallies WHERE {BUILD} AND kind <> '' GROUP BY hour, provider, route, measure, kind
        """,
        "report_tag_kinds": f"""
            SELECT hour, tag, measure, kind, CAST(sum(n) AS bigint) AS count
            FROM tag_tallies WHERE {BUILD} AND kind <> '' GROUP BY hour, tag, measure, kind
        """,
        "report_delays": _delays("tallies", "t.provider, t.route", "t.provider, t.route"),
        "report_tag_delays": _delays("tag_tallies", "t.tag", "t.tag"),
        "report_open": SQLITE_OPEN if dialect == "sqlite" else POSTGRESQL_OPEN,
        "report_providers": f"""
            SELECT k.hour, k.provider, {zeros}, coalesce(o.open_seconds, 0) AS open_seconds
            FROM (
                SELECT hour, provider FROM tallies WHERE {BUILD} AND provider <> ''
                UNION SELECT hour, provider FROM report_open
            ) k
            LEFT JOIN (
                SELECT hour, provider, {sums} FROM report_hourly GROUP BY hour, provider
            ) s ON s.hour = k.hour AND s.provider = k.provider
            LEFT JOIN report_open o ON o.hour = k.hour AND o.provider = k.provider
        """,
        "report_lag": """
            SELECT c.position, l.position AS last_position, l.position - c.position AS events_behind,
                (SELECT e.at FROM events e WHERE e.position > c.position ORDER BY e.position LIMIT 1)
                    AS oldest_at
            FROM checkpoints c,
                (SELECT coalesce(max(position), 0) AS position FROM events) l
            WHERE c.name = 'reports'
        """,
    }


def upgrade() -> None:
    """Make tables and views; the projection then begins with the first event of the log."""
    _tables()
    op.execute(
        "INSERT INTO checkpoints (name, position, at, build, holder)"
        f" VALUES ('reports', 0, '{BEGINNING}', 1, '')"
    )
    uppers = [1000 * 11**bucket // 10**bucket for bucket in range(BUCKETS)]
    middles = [uppers[0], *((upper * 20 + 10) // 21 for upper in uppers[1:])]
    rows = ", ".join(f"({bucket}, {uppers[bucket]}, {middles[bucket]})" for bucket in range(BUCKETS))
    op.execute(f"INSERT INTO delay_buckets (bucket, upper_us, middle_us) VALUES {rows}")
    for name, query in _views(op.get_context().dialect.name).items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """Drop all of it; the log still has what it was made from."""
    for name in reversed(_views(op.get_context().dialect.name)):
        op.execute(f"DROP VIEW {name}")
    for table in reversed(TABLES):
        op.drop_table(table)


def _tables() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("name", ID, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("build", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        postgresql_with=OFTEN_UPDATED,
    )
    op.create_table(
        "tallies",
        sa.Column("build", sa.Integer(), nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("provider", ID, nullable=False),
        sa.Column("route", ID, nullable=False),
        sa.Column("measure", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "build", "hour", "provider", "route", "measure", "kind", "bucket", name="tallies_pkey"
        ),
        postgresql_with=COUNTED,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tag_tallies",
        sa.Column("build", sa.Integer(), nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("tag", ID, nullable=False),
        sa.Column("measure", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("build", "hour", "tag", "measure", "kind", "bucket", name="tag_tallies_pkey"),
        postgresql_with=COUNTED,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "open_times",
        sa.Column("build", sa.Integer(), nullable=False),
        sa.Column("hour", TIME, nullable=False),
        sa.Column("provider", ID, nullable=False),
        sa.Column("us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("build", "hour", "provider", name="open_times_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "open_circuits",
        sa.Column("build", sa.Integer(), nullable=False),
        sa.Column("provider", ID, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.PrimaryKeyConstraint("build", "provider", name="open_circuits_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "delay_buckets",
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("upper_us", sa.BigInteger(), nullable=False),
        sa.Column("middle_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket"),
    )
