"""What Alembic runs: on the connection that `adapters.sql.migrate` brings, or, for a developer, on a URL.

alembic -x database=sqlite:///stagepost.db upgrade head
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, make_url

from adapters.sql.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def _url() -> str:
    named = context.get_x_argument(as_dictionary=True).get("database")
    return named or os.environ.get("STAGEPOST__DATABASE") or "sqlite:///stagepost.db"


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    engine = create_engine(make_url(_url()))
    with engine.connect() as own:
        _run(own)
    engine.dispose()
