"""The comparison with others: who has a turn, who is skipped and why, the ratios; one real run, of Stagepost alone."""

from __future__ import annotations

import ast
import json
import re
import smtplib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event

import pytest

from benchmarks.peers import install, replay
from benchmarks.peers import sink as sinks
from benchmarks.peers.__main__ import OTHERS, chosen, replays, report
from benchmarks.peers.comparison import (
    Comparison,
    compared,
    measures,
    rates_table,
    ratios_table,
    replay_measures,
)
from benchmarks.peers.drivers import mail
from benchmarks.peers.ours import OURS, POSTGRES, SQLITE
from benchmarks.peers.peer import NO_POSTGRES, Machine, Peer, Place, Rates, Ready, rates
from benchmarks.peers.queues import BULLMQ, CELERY, POST_OFFICE, PROCRASTINATE
from benchmarks.peers.sink import CountingSink, counting_sink
from tests.postgres import PostgresServer

NOTHING = Machine(Path("nowhere"), None)
DRIVERS = Path(mail.__file__).parent


def never(place: Place) -> AbstractContextManager[Ready]:
    """Nobody starts the peers of these tests."""
    raise AssertionError("it was started")


def peer(name: str, missing: str | None = None) -> Peer:
    """One that is there, or is missing for this reason."""
    return Peer(name, ack=f"{name} has it", missing=lambda machine: missing, ready=never)


def rounds(*each: dict[str, Rates]) -> Comparison:
    """What so many rounds found."""
    return Comparison(rounds=list(each))


def test_all_take_turns_in_every_round() -> None:
    """What else the machine does slows all of them."""
    turns: list[str] = []

    def measured(one: Peer, machine: Machine, emails: int) -> Rates:
        turns.append(one.name)
        return Rates(emails, 2.0 * emails, 3.0)

    found = compared([peer("a"), peer("b")], NOTHING, 10, 2, measured)

    assert ["a", "b", "a", "b"] == turns
    assert [{"a": Rates(10, 20.0, 3.0), "b": Rates(10, 20.0, 3.0)}] * 2 == found.rounds
    assert {} == found.skipped


def test_who_is_missing_or_fails_is_skipped_with_a_word() -> None:
    """The others have their turns all the same."""
    turns: list[str] = []

    def measured(one: Peer, machine: Machine, emails: int) -> Rates:
        turns.append(one.name)
        if one.name == "weak" and turns.count("weak") == 2:
            raise SystemExit("nothing listens")
        if one.name == "broken":
            raise KeyError("begun_s")
        return Rates(1.0, 1.0, 1.0)

    peers = [peer("gone", "there is no gone"), peer("broken"), peer("weak"), peer("well")]
    found = compared(peers, NOTHING, 10, 3, measured)

    assert ["broken", "weak", "well", "weak", "well", "well"] == turns
    assert {
        "gone": "there is no gone",
        "broken": "it failed: 'begun_s'",
        "weak": "it failed: nothing listens",
    } == found.skipped
    assert [["weak", "well"], ["well"], ["well"]] == [sorted(one) for one in found.rounds]


def test_ratios_are_of_one_round() -> None:
    """Ours through theirs, where both ran; never ours through ours."""
    found = rounds(
        {"own": Rates(100, 60, 500), "own 2": Rates(1, 1, 1), "Postfix": Rates(50, 10, 1000)},
        {"own": Rates(100, 20, 900), "Postfix": Rates(200, 10, 1000)},
        {"own": Rates(100, 20, 900)},
    )
    by_name = {(one.name, one.limit): one for one in measures(found, ["own", "own 2"])}
    delivered, accepted, cpu = (
        by_name[f"{what}: own", "Postfix"] for what in ("delivered", "accepted", "processor time")
    )

    assert 6 == len(by_name)
    assert ((6.0, 2.0), 3.0, 6.0, False) == (
        delivered.values,
        delivered.at_least,
        delivered.aim,
        delivered.less,
    )
    assert ((2.0, 0.5), None) == (accepted.values, accepted.at_least)
    assert ((0.5, 0.9), True) == (cpu.values, cpu.less)
    assert (0.1,) == by_name["delivered: own 2", "Postfix"].values


def test_the_tables_have_a_line_for_each() -> None:
    """Medians of the rates; medians of the ratios, which aren't the ratios of the medians, with their spread."""
    found = rounds(
        {"own": Rates(100, 60, 500), "other": Rates(50, 10, 1000)},
        {"own": Rates(300, 20, 900), "other": Rates(200, 10, 1000)},
        {"own": Rates(200, 30, 700), "other": Rates(100, 5, 1000)},
    )
    rates_lines = rates_table(found, {"own": "synced", "other": "in memory", "absent": ""}).splitlines()[1:]
    ratio_lines = ratios_table(list(measures(found, ["own"]))).splitlines()[1:]

    assert [
        ["own", "200", "30.0", "700", "synced"],
        ["other", "100", "10.0", "1,000", "in", "memory"],
    ] == [line.split() for line in rates_lines]
    assert [
        "own ÷ other",
        "6.00 (2.00 – 6.00)",
        "2.00 (1.50 – 2.00)",
        "0.70 (0.50 – 0.90)",
    ] == re.split(r"\s{2,}", ratio_lines[0])


def test_replay_is_compared_with_the_library() -> None:
    """Events a second, of the same round."""
    taken = {
        "sqlite": [{"Stagepost": 40.0, "eventsourcing": 10.0}, {"Stagepost": 60.0, "eventsourcing": 20.0}]
    }
    (one,) = replay_measures(taken)

    assert ("replay: Stagepost, sqlite", "eventsourcing", (4.0, 3.0)) == (one.name, one.limit, one.values)


@pytest.mark.parametrize(
    ("one", "package"),
    [
        (CELERY, "celery"),
        (PROCRASTINATE, "procrastinate"),
        (POST_OFFICE, "django"),
        (BULLMQ, "bullmq"),
    ],
)
def test_what_isnt_installed_says_how_it_is(one: Peer, package: str, tmp_path: Path) -> None:
    """With the folder that it was looked for in."""
    why = one.missing(Machine(tmp_path, None))
    said = f"{package} isn't installed: python -m benchmarks.peers --install {tmp_path}"

    assert why in {said, "there is no node (Debian: apt install nodejs npm)"}


def test_without_postgresql_those_that_need_it_are_skipped(tmp_path: Path) -> None:
    """The others run."""
    for package in ("procrastinate", "aiosmtplib", "django", "post_office"):
        (tmp_path / "lib" / "python3.11" / "site-packages" / package).mkdir(parents=True)
    here = Machine(tmp_path, None)

    assert [NO_POSTGRES] * 2 == [one.missing(here) for one in (POSTGRES, PROCRASTINATE)]
    assert [None] * 2 == [one.missing(here) for one in (SQLITE, POST_OFFICE)]


def test_without_the_library_there_is_no_replay(tmp_path: Path) -> None:
    """And nothing fails."""
    skipped: dict[str, str] = {}

    assert {} == replays(Machine(tmp_path, None), 1, skipped)
    assert ["replay of eventsourcing, sqlite", "replay of eventsourcing, postgresql"] == list(skipped)
    assert {f"eventsourcing isn't installed: python -m benchmarks.peers --install {tmp_path}"} == set(
        skipped.values()
    )


def test_only_some_are_asked_for() -> None:
    """Always beside Stagepost; a word that names nobody asks for nobody."""
    assert ([*OURS, *OTHERS], True) == chosen([])
    assert ([*OURS, CELERY, BULLMQ], False) == chosen(["celery", "BULL"])
    assert ([SQLITE], False) == chosen(["sqlite"])
    assert ([], True) == chosen(["eventsourcing"])
    assert ([], False) == chosen(["sendmail"])


@pytest.fixture(params=["what is here", "ours"])
def sink(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CountingSink]:
    """`smtp-sink` where there is one, and the sink of ours."""
    if request.param == "ours":
        monkeypatch.setattr(sinks, "ANYWHERE", "")
    with counting_sink(tmp_path) as running:
        yield running


def test_the_sink_counts_messages(sink: CountingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over one connection and over several; it says how many are missing."""
    monkeypatch.setenv("PEERS_SMTP_PORT", str(sink.port))
    for count in (2, 1):
        with mail.connected() as connection:
            for number in range(count):
                to = mail.address(f"k{number}")
                connection.sendmail(mail.SENDER, [to], mail.message(to, mail.SUBJECT, mail.TEXT))
    sink.until(3, within_s=5)

    assert 3 == sink.received()
    with pytest.raises(RuntimeError, match=r"^3 of 4 emails arrived within 0 s$"):
        sink.until(4, within_s=0)


def test_nobody_waits_for_a_sink_that_is_gone(tmp_path: Path) -> None:
    """Who submits may have failed while somebody waits for the last message."""
    (tmp_path / "counts").touch()
    over = CountingSink(0, tmp_path / "counts", Event())
    over.gone.set()

    with pytest.raises(RuntimeError, match=r"^0 of 1 emails arrived before the sink ended$"):
        over.until(1)


def test_what_the_drivers_send_is_a_mail() -> None:
    """As long as what the load generator sends."""
    sent = mail.message("k1@example.org", mail.SUBJECT, mail.TEXT)
    headers, _, text = sent.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in headers.split(b"\r\n")]

    assert 988 == len(text.removesuffix(b"\r\n"))
    assert (
        b"From To Subject Date Message-ID MIME-Version Content-Type Content-Transfer-Encoding".split()
        == names
    )
    assert smtplib._fix_eols(sent.decode()) == sent.decode()  # type: ignore[attr-defined]


def test_stagepost_alone(tmp_path: Path) -> None:
    """A real run: all that is said of it, as JSON."""
    found = compared([SQLITE, CELERY], Machine(tmp_path, None), 20, 1, rates)
    said = json.loads(report(found, {}, {"emails": 20}, as_json=True))
    (taken,) = said["rounds"][0]["emails_per_s"]

    assert {"benchmark": "peers", "measures": []} == {key: said[key] for key in ("benchmark", "measures")}
    assert [CELERY.name] == list(said["conditions"]["skipped"])
    assert {SQLITE.name: SQLITE.ack} == said["conditions"]["accepted_means"]
    assert [SQLITE.name] == list(taken)
    assert {"accepted", "delivered", "cpu_us"} == taken[SQLITE.name].keys()
    assert min(taken[SQLITE.name].values()) > 0
    assert taken[SQLITE.name]["cpu_us"] > 0


def test_a_database_is_there_for_a_block(postgres_server: PostgresServer) -> None:
    """Each measurement has one of its own."""
    here = Machine(Path("nowhere"), postgres_server)
    with here.database() as first, here.database() as second:
        different = first != second

    assert different
    assert None is POSTGRES.missing(here)


def test_the_drivers_know_nothing_of_stagepost() -> None:
    """They run where it isn't installed."""
    ours = {
        (path.name, node.module)
        for path in DRIVERS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks")
    }

    assert {"benchmarks.peers.drivers"} == {module for _, module in ours}


def test_what_is_installed_is_pinned() -> None:
    """All that the Python peers need, and the packages of node; each name is said by the peer that needs it."""
    lines = install.PINNED.read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]

    assert [] == [line for line in packages if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9.]+(post\d+)?", line)]
    assert [] == [one for one in install.NODE_PACKAGES if not re.fullmatch(r"[a-z]+@\d+\.\d+\.\d+", one)]
    assert replay.NAME in {line.partition("==")[0] for line in packages}
