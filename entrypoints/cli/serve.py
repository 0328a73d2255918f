"""`serve`, `dev` and `worker`: the commands that go on until they are told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from entrypoints.cli.database import acquire_lock, database_errors
from entrypoints.cli.options import DEV_FOLDER, ConfigFile
from entrypoints.cli.output import CannotDo
from entrypoints.config import Config, dev_config, load_config
from entrypoints.config_schema import SandboxConfig
from entrypoints.logs import configure_logging

NoWorker = Annotated[bool, Parameter(help="Send nothing: others do (on PostgreSQL), or nobody yet.")]


def serve(*, no_worker: NoWorker = False, config: ConfigFile = None) -> int:
    """Take emails in over HTTP, and send them. SIGTERM ends it in order."""
    return _serve(load_config(config), worker=not no_worker)


def dev(*, config: ConfigFile = None) -> int:
    """Try it: API and worker, all under ./var, each email a file in ./var/outbox.

    Whatever a configuration file or STAGEPOST_DSN says; other variables count, like STAGEPOST__LISTEN=127.0.0.1:9000.
    """
    del config
    made = dev_config(DEV_FOLDER)
    DEV_FOLDER.mkdir(exist_ok=True)
    return _serve(made, worker=True, greet=lambda url: print(banner(made, url), flush=True))


def worker(*, config: ConfigFile = None) -> int:
    """Only send, beside any number of others on one PostgreSQL. SIGTERM ends it in order."""
    from entrypoints.worker import run_worker

    loaded = load_config(config)
    loaded.require_providers()
    _until_it_runs(loaded)
    with database_errors():
        return run_worker(loaded)


def banner(config: Config, url: str) -> str:
    """What `dev` greets with: where everything is, and what to try first."""
    auth = "" if config.tokens().admin is None else " -H 'Authorization: Bearer …your admin_token…'"
    outboxes = [_near(one.folder) for one in config.providers.values() if isinstance(one, SandboxConfig)]
    database = config.sqlite_path()
    where = [f"  API       {url}"]
    where += [f"  messages  {outbox}/*.eml" for outbox in outboxes]
    where += [] if database is None else [f"  database  {_near(database)}"]
    request = '{"id": "hello-1", "to": "you@example.org", "subject": "Hello", "body": "It works."}'
    lines = [
        f"Stagepost {version('stagepost')}, to try it out.",
        "",
        *where,
        "",
        "Send one, see how it stands, and why:",
        "",
        f"  curl{auth} {url}/send-email -H 'Content-Type: application/json' \\",
        f"    -d '{request}'",
        f"  curl{auth} {url}/statuses/hello-1",
        f"  curl{auth} {url}/emails/hello-1/explain",
        "",
        "Ctrl-C ends it.",
        "",
    ]
    return "\n".join(lines)


def _serve(config: Config, *, worker: bool, greet: Callable[[str], None] = lambda url: None) -> int:
    from entrypoints.bootstrap import open_service
    from entrypoints.http.app import HttpOptions, create_app
    from entrypoints.http.server import CannotListen, bind, run, serve

    config.check_for_serving()
    _until_it_runs(config)
    with ExitStack() as held, database_errors():
        lock = acquire_lock(config)
        if lock is not None:
            held.enter_context(lock)
        try:
            sock = held.enter_context(bind(config.listen))
        except CannotListen as error:
            raise CannotDo(f"can't listen on {config.listen}: {error.strerror}") from error
        service = open_service(config, worker=worker)

        def on_listening(url: str) -> None:
            if lock is not None:
                lock.publish(url)
            greet(url)

        tokens = config.tokens()
        options = HttpOptions(
            admin_token=tokens.admin,
            send_token=tokens.send,
            request_max=config.limits.request_max,
            default_from=config.default_from,
            loopback_only=config.listen.loopback,
            version=version("stagepost"),
        )
        return run(serve(service, create_app(service, options), sock, on_listening))


def _until_it_runs(config: Config) -> None:
    """Logging, and an orderly end by SIGTERM even before anything is at work."""
    configure_logging(config.log.level, config.log.format)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


def _near(path: Path) -> Path:
    """As seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
