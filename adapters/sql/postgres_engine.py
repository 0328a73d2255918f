"""Connections to PostgreSQL: to one host, or to whichever of several takes writes; durable, with bounded waits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Dialect, Engine, create_engine, event

POOL_SIZE = 8
"""Connections that are kept; as many again may come and go."""

CONNECT_MIN_S, CONNECT_MAX_S = 2, 10
"""How long hosts are waited for: the driver takes no less for each, and all of them get no more together."""

DEFAULT_PORT = "5432"
READ_ONLY = "25006"
"""Of a statement that would write: the server is a standby, or was made one."""

ATTEMPTS_FAILED = "Multiple connection attempts failed"

# Whatever stronger the operator chose stays.
DURABLE = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


def hosts(url: URL) -> tuple[str, ...]:
    """The hosts that a URL names, in its order; none: a local socket."""
    _, connects = url.get_dialect()().create_connect_args(url)
    named = str(connects.get("host") or "")
    return tuple(named.split(",")) if named else ()


def connect_arguments(url: URL, stall_s: float) -> dict[str, object]:
    """What each connection is opened with; what the URL says itself stays.

    Of several hosts the one that takes writes is wanted. They share the time in which a connection has to be there:
    the first of them may be gone for good. A server that vanishes is noticed after about `stall_s`, also while we
    wait for its answer.
    """
    several = len(hosts(url))
    patience_s = min(stall_s, CONNECT_MAX_S) / max(1, several)
    ours: dict[str, object] = {
        "connect_timeout": max(CONNECT_MIN_S, round(patience_s)),
        "tcp_user_timeout": round(stall_s * 1000),
        "keepalives_idle": max(1, round(stall_s / 2)),
        "keepalives_interval": max(1, round(stall_s / 6)),
        "keepalives_count": 3,
        "application_name": "stagepost",
    }
    if several > 1:
        ours["target_session_attrs"] = "read-write"
    return {name: value for name, value in ours.items() if name not in url.query}


class _Hosts:
    """Several hosts, with the one that answered last at their head: a dead one is waited for once, not each time."""

    def __init__(self) -> None:
        self._last: tuple[str, str] | None = None

    def connect(self, dialect: Dialect, _record: object, arguments: Any, named: dict[str, Any]) -> Any:
        """Open a connection."""
        hosts = str(named["host"]).split(",")
        ports = str(named.get("port") or DEFAULT_PORT).split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        if len(ports) == len(hosts):  # or the driver says what is wrong
            pairs = [(host, port or DEFAULT_PORT) for host, port in zip(hosts, ports, strict=True)]
            pairs.sort(key=lambda pair: pair != self._last)  # the others stay in their order
            hosts, ports = [host for host, _ in pairs], [port for _, port in pairs]
        connection = dialect.connect(
            *arguments, **{**named, "host": ",".join(hosts), "port": ",".join(ports)}
        )
        self._last = (connection.info.host, str(connection.info.port))
        return connection


def postgres_engine(url: URL, stall_s: float) -> Engine:
    """A pool of connections whose sessions are durable and don't hold the others."""
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=stall_s,
        connect_args=connect_arguments(url, stall_s),
    )
    if len(hosts(url)) > 1:
        event.listen(engine, "do_connect", _Hosts().connect)
    milliseconds = round(stall_s * 1000)

    def settings(connection: Any, _record: object) -> None:
        connection.autocommit = True  # or what is set here ends with the first rollback
        # A worker that freezes in a transaction must not hold the others.
        connection.execute(
            f"SET TimeZone = 'UTC'; SET idle_in_transaction_session_timeout = {milliseconds};"
            f" SET lock_timeout = {milliseconds}"
        )
        connection.execute(DURABLE)

    event.listen(engine, "connect", settings)
    return engine


def said(error: BaseException | None) -> str:
    """What the driver says, without the lines that quote the statement or a row; of several hosts, what each did."""
    first, *more = str(error).splitlines() or [""]
    if any(line.startswith(ATTEMPTS_FAILED) for line in more):
        return "; ".join(line.removeprefix("- ") for line in more if line.startswith("- host:"))
    return first
