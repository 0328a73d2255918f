"""Questions to a running service, one after the other on one connection: how long each answer takes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection
from time import perf_counter

from benchmarks.results import percentile

ANSWER_S_MAX = 60.0


def asked(port: int, paths: Iterable[str]) -> dict[str, float]:
    """p50 and p99 of the answers, in milliseconds. Raises SystemExit where one isn't 200."""
    took = []
    with closing(HTTPConnection("127.0.0.1", port, timeout=ANSWER_S_MAX)) as connection:
        for path in paths:
            before = perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            took.append(perf_counter() - before)
            if answer.status != 200:
                raise SystemExit(f"GET {path} answered {answer.status}")
    took.sort()
    return {"p50_ms": 1000 * percentile(took, 0.5), "p99_ms": 1000 * percentile(took, 0.99)}


def told_to(port: int, path: str) -> None:
    """POST something that has no body. Raises SystemExit where it isn't done."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=ANSWER_S_MAX)) as connection:
        connection.request("POST", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"POST {path} answered {answer.status}")
