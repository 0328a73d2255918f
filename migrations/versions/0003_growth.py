"""Lanes tell retries from new mail; and vacuum as it suits tables that only grow, and those that are erased from."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APPENDED = {
    "autovacuum_vacuum_insert_scale_factor": "0",
    "autovacuum_vacuum_insert_threshold": "100000",
    "autovacuum_freeze_min_age": "0",
}
ERASED = {
    **APPENDED,
    "autovacuum_vacuum_scale_factor": "0.05",
    "toast.autovacuum_vacuum_scale_factor": "0.05",
}
SETTINGS = {
    "events": APPENDED,
    "contents": ERASED,
    "blobs": ERASED,
    "content_blobs": {"autovacuum_vacuum_scale_factor": "0.05"},
}

TRIED = """
    UPDATE emails SET lane = substr(lane, 1, length(lane) - 1) || ',true]'
    WHERE lane IS NOT NULL AND attempts > 0 AND lane NOT LIKE '%,true]'
"""
ANY = "UPDATE emails SET lane = substr(lane, 1, length(lane) - 6) || ']' WHERE lane LIKE '%,true]'"


def upgrade() -> None:
    """Name the lanes anew of what waits for another try, and set what differs from before."""
    op.execute(TRIED)
    if op.get_context().dialect.name == "postgresql":
        for table, settings in SETTINGS.items():
            said = ", ".join(f"{name} = {value}" for name, value in settings.items())
            op.execute(f"ALTER TABLE {table} SET ({said})")


def downgrade() -> None:
    """As it was."""
    op.execute(ANY)
    if op.get_context().dialect.name == "postgresql":
        for table, settings in SETTINGS.items():
            op.execute(f"ALTER TABLE {table} RESET ({', '.join(settings)})")
