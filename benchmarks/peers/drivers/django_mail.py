"""django-post_office: `… prepare`, `… work`, `… produce COUNT PREFIX`.

Tuned: `send_queued_mail_until_done` again and again, with no pause to speak of between, instead of once a minute; 1000
emails a batch, 32 threads that keep their SMTP connections for a batch, only failures logged in the database. On
PostgreSQL where PEERS_DATABASE names one, connections kept; else on SQLite. Submitting is `mail.send()`, 8 threads in
one process (on SQLite one thread, as there is one writer).
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import django  # type: ignore[import-not-found]
from django.conf import settings  # type: ignore[import-not-found]

from benchmarks.peers.drivers import mail

PAUSE_S = 0.02
"""Between two looks at an empty queue."""


def _database() -> dict[str, Any]:
    url = os.environ.get("PEERS_DATABASE")
    if not url:
        options = {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["PEERS_SQLITE"],
            "OPTIONS": options,
        }
    from psycopg.conninfo import conninfo_to_dict

    at = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": at["dbname"],
        "USER": at.get("user", ""),
        "PASSWORD": at.get("password", ""),
        "HOST": at.get("host", ""),
        "PORT": at.get("port", ""),
        "CONN_MAX_AGE": None,
    }


settings.configure(
    INSTALLED_APPS=["post_office"],
    DATABASES={"default": _database()},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="of-a-benchmark",
    USE_TZ=True,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    EMAIL_HOST="127.0.0.1",
    EMAIL_PORT=mail.smtp_port(),
    EMAIL_TIMEOUT=mail.SMTP_TIMEOUT_S,
    LOGGING={"version": 1, "root": {"level": "ERROR"}, "loggers": {"post_office": {"level": "ERROR"}}},
    POST_OFFICE={
        "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
        "THREADS_PER_PROCESS": mail.CONCURRENCY,
        "BATCH_SIZE": 1000,
        "LOG_LEVEL": 1,
    },
)


def prepare() -> None:
    """Make the tables."""
    from django.core.management import call_command  # type: ignore[import-not-found]

    call_command("migrate", verbosity=0)


def work() -> None:
    """Send until killed."""
    from post_office.mail import send_queued_mail_until_done  # type: ignore[import-not-found]

    while True:
        send_queued_mail_until_done()
        time.sleep(PAUSE_S)


def produce(count: int, prefix: str) -> None:
    """Submit so many."""
    from post_office.mail import send

    def submit(key: str) -> object:
        return send([mail.address(key)], f"Shop <{mail.SENDER}>", subject=mail.SUBJECT, message=mail.TEXT)

    threads = 8 if "PEERS_DATABASE" in os.environ else 1
    mail.submit_all(submit, [f"{prefix}{number}" for number in range(count)], threads)


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "produce":
        produce(int(sys.argv[2]), sys.argv[3])
    else:
        {"prepare": prepare, "work": work}[sys.argv[1]]()
