"""Postfix as a relay: a private instance with its own queue, configuration and port, fed by `smtp-source`.

Tuned: 32 sessions in and 32 deliveries at once out, over connections that are kept; no DNS, no local delivery; no pause
of its intake while it delivers (`in_flow_delay`); its log goes to a file. It is fed by a C program, which costs the
machine less than our load generator does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.drivers.mail import CONCURRENCY
from benchmarks.peers.peer import SUBMITTED_S_MAX, Machine, Peer, Place, Ready, Submitted
from benchmarks.peers.processes import printed
from benchmarks.peers.sink import ANYWHERE
from benchmarks.serving import free_port, until_it_listens

STARTED_S_MAX = 30.0
BODY_OCTETS = 1000

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example.com
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
smtp_destination_concurrency_limit = {concurrency}
initial_destination_concurrency = {concurrency}
smtp_connection_cache_destinations = [127.0.0.1]:{sink}
in_flow_delay = 0
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n  -  n  -     0 cleanup
qmgr      unix  n  -  n  300   1 qmgr
rewrite   unix  -  -  n  -     - trivial-rewrite
bounce    unix  -  -  n  -     0 bounce
defer     unix  -  -  n  -     0 bounce
trace     unix  -  -  n  -     0 bounce
verify    unix  -  -  n  -     1 verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -     - proxymap
smtp      unix  -  -  n  -     - smtp
relay     unix  -  -  n  -     - smtp
showq     unix  n  -  n  -     - showq
error     unix  -  -  n  -     - error
retry     unix  -  -  n  -     - error
discard   unix  -  -  n  -     - discard
anvil     unix  -  -  n  -     1 anvil
scache    unix  -  -  n  -     1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@contextmanager
def relay(place: Place) -> Iterator[Ready]:
    """The instance, started and stopped."""
    folder, port = place.folder / "postfix", free_port()
    for inside in ("etc", "queue", "data"):
        (folder / inside).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix")
    words = {
        "folder": str(folder),
        "sink": place.sink_port,
        "concurrency": CONCURRENCY,
        "port": port,
    }
    (folder / "etc" / "main.cf").write_text(MAIN.format_map(words), encoding="ascii")
    (folder / "etc" / "master.cf").write_text(MASTER.format_map(words), encoding="ascii")
    _told(folder, "start")
    try:
        until_it_listens(port)
        master = int((folder / "queue" / "pid" / "master.pid").read_text(encoding="ascii"))
        yield Ready(lambda count, prefix: _submit(port, count, prefix), (master,))
    finally:
        _told(folder, "stop")


def _told(folder: Path, what: str) -> None:
    # It leaves a daemon behind that keeps its output open, so nobody may wait for that to end.
    postfix = _found("postfix")
    subprocess.run(
        [postfix, "-c", str(folder / "etc"), what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=STARTED_S_MAX,
        check=True,
    )


def _submit(port: int, count: int, prefix: str) -> Submitted:
    source = [
        _found("smtp-source"),
        "-d",
        "-N",
        "-s",
        str(CONCURRENCY),
        "-l",
        str(BODY_OCTETS),
        "-m",
        str(count),
    ]
    whom = ["-f", "shop@example.com", "-t", f"{prefix}@example.org", f"127.0.0.1:{port}"]
    begun_s = time.monotonic()
    printed([*source, *whom], SUBMITTED_S_MAX)
    return Submitted(begun_s, count / (time.monotonic() - begun_s))


def _found(program: str) -> str:
    return shutil.which(program, path=ANYWHERE) or program


def _missing(machine: Machine) -> str | None:
    for program in ("postfix", "smtp-source"):
        if shutil.which(program, path=ANYWHERE) is None:
            return f"there is no {program} (Debian: apt install postfix)"
    return "Postfix has to be started as root" if os.geteuid() else None


POSTFIX = Peer(
    name="Postfix",
    ack="SMTP 250: in its queue, synced",
    missing=_missing,
    ready=relay,
)
