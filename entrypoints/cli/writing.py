"""How a command that writes gets through: straight to the database, or through the service that owns it.

A SQLite database has one writer, the process that holds its lock. If that is a service, the command asks it over
HTTP, with the configured token; if it is nobody, the command is the writer for as long as it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from application.committer import Overloaded
from application.operate import UnknownProvider
from application.ports import StoreUnavailable
from application.projections.emails import Status
from domain.errors import Refused
from entrypoints import lockfile, shapes
from entrypoints.bootstrap import open_service
from entrypoints.cli.database import database_errors, lock_or_url, require_database
from entrypoints.cli.output import BadUsage, CannotDo
from entrypoints.cli.remote import Remote
from entrypoints.config import Config
from entrypoints.config_source import suggestion
from entrypoints.logs import configure_logging
from entrypoints.service import Service
from entrypoints.shapes import Shape

T = TypeVar("T")

LOOK_S = 0.1
"""How often it is looked how a rebuild goes."""

OPERATOR = "operator"
"""Who acts, as events record it: no person's name belongs there."""
LOG_LEVEL = "warning"
"""A command says what it did; its log is for what it can't say."""


class Writer(Protocol):
    """What commands can have done. Everything raises CannotDo with the reason; `send` also BadUsage."""

    def send(self, document: bytes) -> Shape:
        """Accept an email; `document` is the body of a `POST /send-email`."""

    def retry(self, ref: str, accept_duplicate_risk: bool) -> Shape:
        """Reopen a failed email, let a held one go."""

    def cancel(self, ref: str) -> Shape:
        """Call an email off."""

    def provider(self, name: str, action: str) -> Shape:
        """`pause`, `resume` or `reset` a provider; how it stands then."""

    def rebuild(self, view: str, told: Callable[[Shape], None]) -> Shape:
        """Have a view made anew; `told` hears how it goes. How it ended, as `GET /rebuild` tells."""


@contextmanager
def open_writer(config: Config, *, accepts: bool = False) -> Iterator[Writer]:
    """The way to write. `accepts`: to take emails in, which needs a provider, and may begin a new database."""
    path = config.sqlite_path()
    if path is None:
        with _direct(config, accepts) as writer:
            yield writer
        return
    with database_errors():
        if not path.exists() and lockfile.read(path) is None:
            # Before anything is made: a mistyped command leaves no files behind.
            config.require_providers() if accepts else require_database(config)
        way = lock_or_url(path)
    if isinstance(way, str):
        yield Remote(way, config.tokens())
        return
    with way, _direct(config, accepts) as writer:
        yield writer


class Direct:
    """Writes to the database itself."""

    def __init__(self, config: Config, service: Service, runner: asyncio.Runner) -> None:
        self._config = config
        self._service = service
        self._runner = runner

    def send(self, document: bytes) -> Shape:
        """Accept an email; it is sent once a worker runs."""
        from entrypoints.http.intake import Intake
        from entrypoints.http.problems import Problem

        try:
            request = Intake(self._config.default_from).request(document, now=self._service.clock.now())
        except Problem as problem:
            raise BadUsage(problem.detail) from problem
        return shapes.receipt(self._run(self._service.acceptor.accept(request)))

    def retry(self, ref: str, accept_duplicate_risk: bool) -> Shape:
        """Reopen a failed email, let a held one go."""
        operator = self._service.operator
        return self._act(ref, operator.retry(ref, OPERATOR, accept_duplicate_risk=accept_duplicate_risk))

    def cancel(self, ref: str) -> Shape:
        """Call an email off."""
        return self._act(ref, self._service.operator.cancel(ref, OPERATOR))

    def provider(self, name: str, action: str) -> Shape:
        """`pause`, `resume` or `reset` a provider."""
        operator = self._service.operator
        act = {"pause": operator.pause, "resume": operator.resume, "reset": operator.reset}[action]
        self._run(act(name, OPERATOR))
        found = self._run(self._service.reader.providers())
        return next(shapes.provider(one) for one in found if one.name == name)

    def rebuild(self, view: str, told: Callable[[Shape], None]) -> Shape:
        """Have a view made anew."""
        rebuilds = self._service.rebuilds
        assert rebuilds is not None

        async def work() -> Shape:
            state = rebuilds.start(view)
            while state.running:
                await asyncio.sleep(LOOK_S)
                state = rebuilds.state or state
                told(shapes.rebuild(state))
            return shapes.rebuild(state)

        return self._run(work())

    def _act(self, ref: str, work: Awaitable[Status]) -> Shape:
        status = self._run(work)
        return shapes.acted(self._run(self._service.reader.status(ref)), status)

    def _run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        try:
            return self._runner.run(awaited())
        except Refused as error:
            raise CannotDo(error.reason) from error
        except UnknownProvider as error:
            raise CannotDo(no_provider(self._config, str(error))) from error
        except Overloaded as error:
            raise CannotDo("more is waiting than may wait; nothing was accepted, try again later") from error
        except StoreUnavailable as error:
            raise CannotDo(f"the database can't be used: {error}") from error


def no_provider(config: Config, name: str) -> str:
    """What to say about a provider that is not there."""
    return f'there is no provider "{name}"; {suggestion(name, config.providers)}'


@contextmanager
def _direct(config: Config, accepts: bool) -> Iterator[Direct]:
    if accepts:
        config.require_providers()
    configure_logging(LOG_LEVEL, config.log.format)
    with asyncio.Runner() as runner:
        with database_errors():
            service = open_service(config, worker=False)
        try:
            with database_errors():
                runner.run(service.start())
            yield Direct(config, service, runner)
        finally:
            runner.run(service.stop())
