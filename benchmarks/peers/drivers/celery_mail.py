"""Celery on Redis: `python -m benchmarks.peers.drivers.celery_mail COUNT PREFIX` submits, Celery's own command works.

Tuned: results are ignored, acknowledged late (a worker that dies loses none), 64 tasks fetched ahead, one SMTP
connection kept by each of the four processes, mail put together by hand. Submitting is `delay()`, one after the other
in one process: with eight threads it was slower.
"""

from __future__ import annotations

import os
import smtplib
import sys

from celery import Celery  # type: ignore[import-not-found]

from benchmarks.peers.drivers import mail

app = Celery("peer", broker=os.environ["PEERS_REDIS"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)

_kept: list[smtplib.SMTP] = []
"""The connection of this process, once it has one."""


def send(to: str, subject: str, text: str) -> None:
    """Send one; over a new connection if the one that is kept was closed."""
    composed = mail.message(to, subject, text)
    if not _kept:
        _kept.append(mail.connected())
    try:
        _kept[0].sendmail(mail.SENDER, [to], composed)
    except smtplib.SMTPServerDisconnected:
        _kept.clear()
        raise


task = app.task(name="send", autoretry_for=(OSError,), retry_backoff=True)(send)


def produce(count: int, prefix: str) -> None:
    """Submit so many."""
    with app.pool.acquire(block=True) as connection:
        connection.ensure_connection()
    mail.submit_all(
        lambda key: task.delay(mail.address(key), mail.SUBJECT, mail.TEXT),
        [f"{prefix}{number}" for number in range(count)],
        threads=1,
    )


if __name__ == "__main__":
    produce(int(sys.argv[1]), sys.argv[2])
