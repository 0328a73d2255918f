"""Hosts on this machine: network namespaces, each with an address of its own on one bridge, and wires to cut."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

NAMESPACES = Path("/run/netns")
MARK = "spm"
"""Begins the name of all that is made here; the id of the process that made it follows."""

CLONE_NEWNET, CLONE_NEWUTS = 0x4000_0000, 0x0400_0000
SUBNETS = range(1, 255)
NOBODY = "02:00:00:00:00:01"
"""The Ethernet address of nobody on the bridge: what is sent there is lost without a word."""


class NoNetwork(Exception):
    """This machine has no network namespaces for us, and why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of its own, as far as its network and its name go."""

    name: str
    namespace: str
    address: str

    def enter(self) -> None:
        """Move this process there, before it has opened anything; it ends when whoever started it does."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (NAMESPACES / self.namespace).open() as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) or libc.unshare(CLONE_NEWUTS):
                raise OSError(ctypes.get_errno(), f"can't enter {self.namespace}")
        socket.sethostname(self.name)
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def command(self, *arguments: str, user: str) -> list[str]:
        """How to start a program there, as this user; it ends when whoever started it does."""
        return ["ip", "netns", "exec", self.namespace, *become(user), *arguments]


def become(user: str) -> list[str]:
    """What starts a program as this user, and ends it with whoever started it."""
    who = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]


class Network:
    """A bridge and the hosts on it. This process has an address there as well (`.254`), so that it can look."""

    def __init__(self, names: Sequence[str]) -> None:
        self._bridge = f"{MARK}{os.getpid()}"
        self._subnet = _free_subnet()
        self.hosts = {
            name: Host(name, f"{self._bridge}-{name}", f"{self._subnet}.{number}")
            for number, name in enumerate(names, 1)
        }

    def build(self) -> None:
        """Make all of it."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self._subnet}.254/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, host in enumerate(self.hosts.values(), 1):
            wire = self._wire(number)
            _ip("netns", "add", host.namespace)
            _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _ip("link", "set", wire, "master", self._bridge, "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.namespace, "link", "set", device, "up")

    def cut(self, one: Host, other: Host) -> None:
        """Lose every packet between the two, without a word to either; all others still reach both."""
        for here, there in ((one, other), (other, one)):
            told = ("lladdr", NOBODY, "nud", "permanent")
            _ip("-n", here.namespace, "neigh", "replace", there.address, *told, "dev", "eth0")

    def mend(self, one: Host, other: Host) -> None:
        """Let them hear each other again."""
        for here, there in ((one, other), (other, one)):
            _ip("-n", here.namespace, "neigh", "del", there.address, "dev", "eth0")

    def unplug(self, host: Host) -> None:
        """Pull the cable of a host: it is gone for everybody, and no reset tells of it."""
        _ip("link", "set", self._wire(1 + list(self.hosts).index(host.name)), "down")

    def remove(self) -> None:
        """Everything, and whoever still runs there."""
        _remove(self._bridge)

    def _wire(self, number: int) -> str:
        return f"{self._bridge}.{number}"


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """These hosts, gone with the block. Raises NoNetwork."""
    check()
    remove_leftovers()
    made = Network(names)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def check() -> None:
    """Raises NoNetwork where this machine has no network namespaces for us."""
    if os.geteuid() != 0:
        raise NoNetwork("network namespaces need root")
    for program in ("ip", "setpriv"):
        if shutil.which(program) is None:
            raise NoNetwork(f"there is no `{program}` (Debian: iproute2, util-linux)")
    trial = f"{MARK}{os.getpid()}-trial"
    try:
        _ip("netns", "add", trial)
        _ip("-n", trial, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", trial, "link", "add", "one", "type", "veth", "peer", "name", "other")
    except OSError as error:
        raise NoNetwork(f"no network namespaces here: {error}") from error
    finally:
        with suppress(OSError):
            _ip("netns", "del", trial)


def remove_leftovers() -> None:
    """What a run that was killed could not take away."""
    for bridge in sorted({name.partition("-")[0] for name in _namespaces()} | _bridges()):
        pid = int(bridge.removeprefix(MARK))
        if pid == os.getpid() or not psutil.pid_exists(pid):
            _remove(bridge)


def _remove(bridge: str) -> None:
    for namespace in _namespaces():
        if namespace.partition("-")[0] == bridge:
            for pid in _ip("netns", "pids", namespace).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", namespace)
    if bridge in _bridges():
        _ip("link", "del", bridge)


def _namespaces() -> list[str]:
    """Ours and those of other runs."""
    found = NAMESPACES.iterdir() if NAMESPACES.exists() else iter(())
    return [one.name for one in found if _is_ours(one.name.partition("-")[0])]


def _bridges() -> set[str]:
    return {name for name in psutil.net_if_stats() if _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name.startswith(MARK) and name.removeprefix(MARK).isdigit()


def _free_subnet() -> str:
    taken = {one.address for each in psutil.net_if_addrs().values() for one in each}
    at = os.getpid() % len(SUBNETS)
    for number in (*SUBNETS[at:], *SUBNETS[:at]):
        if f"10.231.{number}.254" not in taken:
            return f"10.231.{number}"
    raise NoNetwork("every subnet of 10.231.0.0/16 is taken")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
