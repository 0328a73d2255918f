"""Commands beside a running service on SQLite: they read beside it, and write through it."""

from __future__ import annotations

import io
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli.main import main
from tests.entrypoints.cli_process import Running, in_an_hour, process_as_before

CONFIG = """
database = "sqlite:///mail.db"
listen = "127.0.0.1:0"
admin_token = "admin-token"
send_token = "send-token"
from = "Shop <shop@example.org>"

[providers.files]
type = "sandbox"
rate = "6000/m"
"""
LATER = in_an_hour()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`stagepost serve` in a folder of its own, until all tests here are done."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "stagepost.toml").write_text(CONFIG)
    running = Running(folder, "serve")
    try:
        running.wait_until_listening(folder / "mail.db.lock")
        yield running
    finally:
        code = running.stop(signal.SIGINT)
    assert 0 == code, running.stderr
    assert "Traceback" not in running.stderr


@pytest.fixture(autouse=True)
def beside(service: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in the service's folder."""
    monkeypatch.chdir(service.folder)
    with process_as_before():
        yield


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert code == main([*arguments, "--json"]), capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def sent(capsys: pytest.CaptureFixture[str], ref: str) -> Any:
    """The status of an email, once it is sent."""
    deadline = time.monotonic() + 20
    while (found := answer(capsys, "status", ref))["status"] != "sent":
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def send(capsys: pytest.CaptureFixture[str], ref: str, *more: str) -> Any:
    """Hand in a plain email of that id."""
    return answer(
        capsys,
        "send",
        *("--id", ref, "--to", "ann@example.org", "--subject", "Hello", "--body", "It works."),
        *more,
    )


def test_an_email_goes_in_and_out(service: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted by the service, written to a file, and every command knows it by either id."""
    receipt = send(capsys, "in-and-out")
    status = sent(capsys, "in-and-out")

    assert {"id", "email_id", "status", "message"} == set(receipt)
    assert "queued" == receipt["status"]
    assert status == answer(capsys, "status", receipt["email_id"])
    assert ["files"] == [one["provider"] for one in status["attempts"]]
    assert [{"index": 0, "outcome": "accepted"}] == status["recipients"]
    assert [1] == [
        text.count("It works.")
        for text in (one.read_text() for one in (service.folder / "outbox").glob("*.eml"))
        if "ann@example.org" in text and receipt["email_id"] in text
    ]


def test_json_is_what_http_says(service: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """One shape, whichever way somebody asks."""
    send(capsys, "same-shape")
    status = sent(capsys, "same-shape")

    assert service.get("/statuses/same-shape", "admin-token") == status
    assert service.get("/emails/same-shape/explain", "admin-token") == answer(capsys, "explain", "same-shape")
    assert service.get("/providers", "admin-token") == answer(capsys, "providers", "list")


def test_a_card_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Status, attempts and recipients at a glance."""
    send(capsys, "card", "--cc", "bob@example.org")
    sent(capsys, "card")

    assert 0 == main(["status", "card"])

    out = capsys.readouterr().out
    assert "card: sent by files" == out.splitlines()[0]
    assert re.search(r"^  attempt  provider  outcome ", out, re.MULTILINE)
    assert re.search(r"^  1        files     sent ", out, re.MULTILINE)
    assert re.search(r"^  1          accepted$", out, re.MULTILINE)
    assert "ann@example.org" not in out


def test_a_story_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """What happened, with times, and what comes next."""
    send(capsys, "story")
    sent(capsys, "story")

    assert 0 == main(["explain", "story"])

    lines = capsys.readouterr().out.splitlines()
    assert "story: sent" == lines[0]
    assert re.fullmatch(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  accepted for 1 recipient.*", lines[2])
    assert "attempt 1 started at files" in lines[3]
    assert "  recipient 0  accepted by files in attempt 1" == lines[-4]
    assert re.fullmatch(r"took:  [0-9.]+ m?s, from acceptance to its end", lines[-2])
    assert "next:  nothing: this is its end" == lines[-1]


def test_a_story_as_it_stood(capsys: pytest.CaptureFixture[str]) -> None:
    """At a time as the story itself shows it: what happened by that millisecond is in it."""
    send(capsys, "stood", "--cc", "bob@example.org")
    sent(capsys, "stood")
    story = answer(capsys, "explain", "stood")
    begun = story["lines"][0]["at"].replace("T", " ")[:-4] + "Z"
    known = [line for line in story["lines"] if line["at"] < begun[:-1].replace(" ", "T") + "999Z"]

    assert 0 == main(["explain", "stood", "--at", begun])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f" (as it stood at {begun})")
    assert 1 <= len(known) == sum(" accepted for 2 recip" in one or " attempt 1 " in one for one in lines[2:])
    assert known == answer(capsys, "explain", "stood", "--at", begun)["lines"]
    assert 1 == main(["explain", "stood", "--at", "1h"])
    assert "--at is too early: the email was accepted at 20" in capsys.readouterr().err
    assert 2 == main(["explain", "stood", "--at", "soon"])
    assert "--at: 'soon' is no moment" in capsys.readouterr().err


def test_the_same_id_is_accepted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The same request gets its first answer again; another one is refused."""
    first = send(capsys, "once")

    assert first == send(capsys, "once")
    assert 1 == main(["send", "--id", "once", "--to", "bob@example.org", "--subject", "x", "--body", "y"])
    assert "once" not in capsys.readouterr().out


def test_a_bad_request_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """The service's own words, on one line, with exit code 2."""
    assert 2 == main(["send", "--to", "nobody", "--body", "x"])

    told = capsys.readouterr()
    assert "" == told.out
    assert 1 == told.err.count("\n")
    assert "subject is required" in told.err
    assert "to[0]" in told.err


@pytest.mark.parametrize("command", ["status", "explain", "retry", "cancel"])
def test_an_unknown_id_is_exit_code_1(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With one line that names it."""
    assert 1 == main([command, "who/is that?"])

    told = capsys.readouterr()
    assert "" == told.out
    assert "stagepost: who/is that?: There is no such email.\n" == told.err


def test_several_are_cancelled_each_with_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """One that can't be doesn't keep the others; the exit code tells of it."""
    for ref in ("call-off-1", "call/off 2"):
        assert "scheduled" == send(capsys, ref, "--send-at", LATER)["status"]

    assert 1 == main(["cancel", "call-off-1", "nobody", "call/off 2"])

    told = capsys.readouterr()
    assert "call-off-1: cancelled\ncall/off 2: cancelled\n" == told.out
    assert "stagepost: nobody: There is no such email.\n" == told.err
    assert "cancelled" == answer(capsys, "status", "call/off 2")["status"]
    assert "operator" in json.dumps(answer(capsys, "explain", "call-off-1"))


def test_several_answers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One document, with what went wrong in it."""
    send(capsys, "json-1", "--send-at", LATER)

    found = answer(capsys, "cancel", "json-1", "nobody", code=1)

    assert ["cancelled", None] == [one.get("status") for one in found["data"]]
    assert {"id": "nobody", "error": "There is no such email."} == found["data"][1]


def test_what_is_sent_can_not_be_retried(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal of the domain, in its own words."""
    send(capsys, "done")
    sent(capsys, "done")

    assert 1 == main(["retry", "done", "--accept-duplicate-risk"])

    assert capsys.readouterr().err.startswith("stagepost: done: ")


def test_a_provider_is_paused_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    """Through the service, for which it counts at once."""
    assert 0 == main(["providers", "pause", "files"])
    assert "files: paused, circuit closed\n" == capsys.readouterr().out
    send(capsys, "while-paused")
    assert "queued" == answer(capsys, "status", "while-paused")["status"]

    assert 0 == main(["providers", "resume", "files"])
    assert "files: in use, circuit closed\n" == capsys.readouterr().out
    sent(capsys, "while-paused")
    assert answer(capsys, "providers", "reset", "files")["paused"] is False


def test_providers_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    assert 0 == main(["providers", "list"])

    head, line = capsys.readouterr().out.splitlines()
    assert re.match(r"name +type +state +under way +limits", head)
    assert re.match(r"files +sandbox +in use +0 +\d+ of 6000/m used", line)


def test_a_provider_the_service_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    """It says so itself."""
    assert 1 == main(["providers", "pause", "nowhere"])

    assert "no provider" in capsys.readouterr().err


@pytest.mark.parametrize(("token", "code"), [("send-token", 1), ("something-else", 1)])
def test_a_token_that_is_not_enough(
    token: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says that its configuration has another token than the service's."""
    monkeypatch.setenv("STAGEPOST__ADMIN_TOKEN", token)
    monkeypatch.setenv("STAGEPOST__SEND_TOKEN", "never")

    assert code == main(["cancel", "whatever"])

    assert "refuses the token" in capsys.readouterr().err


def test_sending_takes_the_send_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The admin token may be unknown to whoever may only send."""
    monkeypatch.setenv("STAGEPOST__ADMIN_TOKEN", "not-the-one")

    assert "queued" == send(capsys, "by-sender")["status"]


@pytest.mark.parametrize("more", [[], ["--body", "-"], ["--html", "-"]])
def test_a_text_from_standard_input(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `mail` does: what is piped in is the text."""
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))

    assert 0 == main(["send", "--to", "ann@example.org", "--subject", "- Piped", *more])

    out = capsys.readouterr().out
    assert ["id", "email_id", "status"] == [line.split()[0] for line in out.splitlines()]


def test_every_option_arrives(service: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a message can have, it has."""
    (tmp_path / "note.txt").write_text("attached text")
    (tmp_path / "list.csv").write_text("a,b")
    options = {
        "--cc": ["Bob <bob@example.org>"],
        "--bcc": ["eve@example.org"],
        "--from": ["Sales <sales@example.org>"],
        "--reply-to": ["answers@example.org"],
        "--html": ["<b>It works.</b>"],
        "--header": ["X-Order: 4711", "X-Colon: a: b"],
        "--tag": ["order", "first"],
        "--attach": [str(tmp_path / "note.txt"), str(tmp_path / "list.csv")],
        "--expires-after": ["2h"],
        "--on-uncertain": ["hold"],
    }
    receipt = send(
        capsys, "all-of-it", *(part for name, all_ in options.items() for one in all_ for part in (name, one))
    )
    assert 3 == len(sent(capsys, "all-of-it")["recipients"])

    (message,) = (
        text
        for text in (one.read_text() for one in (service.folder / "outbox").glob("*.eml"))
        if receipt["email_id"] in text
    )
    for part in ("Sales <sales@example.org>", "bob@example.org", "answers@example.org", "X-Order: 4711"):
        assert part in message
    for part in ("X-Colon: a: b", "<b>It works.</b>", "note.txt", "list.csv", "text/csv"):
        assert part in message
    assert "eve@example.org" not in message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--header", "no colon"], "'Name: value'"),
        (["--header", "X-A: 1", "--header", "X-A: 2"], "twice"),
        (["--attach", "missing.pdf"], "missing.pdf: No such file"),
        (["--body", "-", "--html", "-"], "not both"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are found before anything is asked."""
    assert 2 == main(["send", "--to", "ann@example.org", "--subject", "x", *arguments])

    assert says in capsys.readouterr().err


def test_a_second_service_names_the_first(
    service: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After waiting for it to end."""
    monkeypatch.setattr("entrypoints.cli.database.LOCK_WAIT_S", 0.2)

    assert 1 == main(["serve"])

    assert f"process {service.process.pid}" in capsys.readouterr().err


def test_a_worker_beside_it_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    """On SQLite the service sends by itself."""
    assert 2 == main(["worker"])

    assert "stagepost serve" in capsys.readouterr().err


def test_migrating_beside_it_has_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """The service did it when it started."""
    assert 0 == main(["migrate"])
    assert "nothing to do" in capsys.readouterr().out

    assert [] == answer(capsys, "migrate", "status")["pending"]
