"""How a command that writes gets through: straight to the database, or through the service that owns it.

A SQLite database has one writer, the process that holds its lock. If that is a service, the command asks it over
HTTP, with the configured token; if it is nobody, the command is the writer for as long as it runs.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from application.committer import Overloaded
from application.operate import UnknownProvider
from domain.errors import Refused
from entrypoints import lockfile, shapes
from entrypoints.bootstrap import DatabaseMissing, open_service
from entrypoints.cli.output import BadUsage, CannotDo, database_errors
from entrypoints.config import Config
from entrypoints.logs import configure_logging
from entrypoints.service import Service
from entrypoints.shapes import Shape

T = TypeVar("T")

LOCK_WAIT_S = 5.0
"""For an owner that is about to end, or about to listen."""
ANSWER_MAX_S = 60.0
"""A service that takes longer than this to answer one request is not going to."""
OPERATOR = "operator"
"""Who acts, as events record it: no person's name belongs there."""


class Writer(Protocol):
    """What commands can have done. Everything raises CannotDo with the reason; `send` also BadUsage."""

    def send(self, document: bytes) -> Shape:
        """Accept an email; `document` is the body of a `POST /send-email`."""

    def retry(self, ref: str, accept_duplicate_risk: bool) -> Shape:
        """Reopen a failed email, let a held one go."""

    def cancel(self, ref: str) -> Shape:
        """Call an email off."""

    def provider(self, name: str, action: str) -> Shape:
        """`pause`, `resume` or `reset` a provider."""


@contextmanager
def open_writer(config: Config, *, creates: bool = False) -> Iterator[Writer]:
    """The way to write. `creates`: it makes sense to begin with a database that isn't there yet."""
    path = config.sqlite_path()
    if path is None:
        with _direct(config) as writer:
            yield writer
        return
    with database_errors():
        if not creates and not path.exists():
            raise DatabaseMissing(f"there is no database at {path}; `stagepost serve` makes one")
        try:
            lock = lockfile.acquire(path, wait_s=LOCK_WAIT_S, or_url=True)
        except lockfile.Locked as error:
            if error.url is None:
                raise
            lock = None
            url = error.url
        except OSError as error:
            raise CannotDo(f"{error.filename}: {error.strerror}") from error
    if lock is None:
        yield Remote(url, config)
        return
    with lock, _direct(config) as writer:
        yield writer


class Direct:
    """Writes to the database itself."""

    def __init__(self, config: Config, service: Service, runner: asyncio.Runner) -> None:
        self._config = config
        self._service = service
        self._runner = runner

    def send(self, document: bytes) -> Shape:
        raise NotImplementedError

    def retry(self, ref: str, accept_duplicate_risk: bool) -> Shape:
        operator = self._service.operator
        status = self._run(operator.retry(ref, OPERATOR, accept_duplicate_risk=accept_duplicate_risk))
        return shapes.acted(ref, status)

    def cancel(self, ref: str) -> Shape:
        return shapes.acted(ref, self._run(self._service.operator.cancel(ref, OPERATOR)))
