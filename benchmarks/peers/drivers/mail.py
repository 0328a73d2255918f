"""What every driver sends, where it sends it to, and how it says how fast it was taken."""

from __future__ import annotations

import json
import os
import smtplib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

CONCURRENCY = 32
"""Emails that a peer may have under way at once, and submissions that a producer may; as our load generator has."""

SENDER = "shop@example.com"
SUBJECT = "Your order is on its way"
TEXT = "All is well. " * 76
"""1 KB, as `benchmarks.load` sends."""

SMTP_TIMEOUT_S = 30


def smtp_port() -> int:
    """Where the sink listens, on 127.0.0.1."""
    return int(os.environ["PEERS_SMTP_PORT"])


def address(key: str) -> str:
    """The recipient of an email."""
    return f"{key}@example.org"


def message(to: str, subject: str, text: str) -> bytes:
    """A plain text mail, put together by hand: a library's composing would be most of what is measured."""
    return (
        f"From: Shop <{SENDER}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{to.partition('@')[0]}.{time.monotonic_ns()}@example.com>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        f"{text}\r\n"
    ).encode("ascii")


def connected() -> smtplib.SMTP:
    """A connection to keep."""
    connection = smtplib.SMTP("127.0.0.1", smtp_port(), timeout=SMTP_TIMEOUT_S)
    connection.ehlo()
    return connection


def submitted(begun_s: float, count: int) -> None:
    """Say when the first of so many was submitted, and that the last is taken now."""
    print(json.dumps({"begun_s": begun_s, "per_s": count / (time.monotonic() - begun_s)}), flush=True)


def submit_all(submit: Callable[[str], object], keys: list[str], threads: int) -> None:
    """Submit them from so many threads, each with one under way; and say how fast that was."""
    with ThreadPoolExecutor(threads) as pool:
        begun_s = time.monotonic()
        for _ in pool.map(submit, keys):
            pass
        submitted(begun_s, len(keys))
