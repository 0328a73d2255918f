"""`stagepost simulate`: the whole of it, with the real use cases on virtual time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from entrypoints.cli.main import main
from tests.entrypoints.cli_process import STAGEPOST, environment, process_as_before

CONFIG = """
[providers.primary]
type = "smtp"
host = "${NOT_SET}"
concurrency = 8
final_timeout = "5s"

[providers.secondary]
type = "resend"
key = "${NOT_SET_EITHER}"
rate = "20/s"

[routes.otp]
match = { tag = "otp" }
use = ["secondary", "primary"]
on_limit = "overflow"
priority = "high"

[routes.default]
use = ["primary", "secondary"]
"""
SLOW = CONFIG.replace('rate = "20/s"', 'rate = "120/m"')
OUTAGE = ("--rate", "4/s", "--for", "2m", "--outage", "primary=30s..80s", "--route", "otp=20%")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own, with a configuration none of whose variables is set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stagepost.toml").write_text(CONFIG)
    with process_as_before():
        yield tmp_path


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed."""
    code = main(["simulate", *arguments])
    printed = capsys.readouterr()

    assert (0, "") == (code, printed.err)
    return printed.out


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What is found with one configuration."""
    (found,) = json.loads(simulate(capsys, "--json", *arguments))["runs"]
    return found


def test_mail_without_trouble_is_sent_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it by the first provider, within its latency, without any circuit."""
    found = run(capsys, "--rate", "20/s", "--for", "1m", "--latency", "primary=100ms")
    emails = found["emails"]

    assert emails["requested"] == emails["sent"] == found["attempts"] == found["providers"][0]["sent"]
    assert emails["requested"] == pytest.approx(1200, rel=0.1)
    assert found["delay_ms"]["p50"] == pytest.approx(100, rel=0.06)
    assert ([], []) == (found["circuit"], found["switches"])


def test_an_outage_opens_the_circuit_and_the_mail_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """No email is lost; the circuit opens in it and closes after it."""
    found = run(capsys, *OUTAGE)
    changes = [(one["to"], one["at_s"]) for one in found["circuit"] if one["provider"] == "primary"]
    reasons = {(one["from"], one["to"], one["reason"]) for one in found["switches"]}

    assert 0 == found["emails"]["waiting"] == found["emails"]["failed"]
    assert found["emails"]["requested"] == found["emails"]["sent"]
    assert ("open", "closed") == (changes[0][0], changes[-1][0])
    assert 30 < changes[0][1] < 80 < changes[-1][1]
    assert ("primary", "secondary", "circuit_open") in reasons
    assert {"default", "otp"} == {one["name"] for one in found["routes"]}


def test_a_lost_answer_is_a_possible_duplicate(capsys: pytest.CaptureFixture[str]) -> None:
    """By policy the email goes again at a provider without keys; there the copies are real."""
    found = run(capsys, "--rate", "8/s", "--for", "1m", "--failing", "primary=lost:6%")
    vanished = run(capsys, "--rate", "8/s", "--for", "1m", "--failing", "primary=vanished:3%")

    assert found["duplicates"]["possible"] == found["duplicates"]["real"] == found["uncertain"] > 10
    assert vanished["duplicates"]["real"] == 0 < vanished["duplicates"]["possible"]


def test_keys_make_a_repeat_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """The provider with idempotency keys is asked again, at no risk."""
    found = run(
        capsys, "--rate", "5/s", "--for", "1m", "--route", "otp=100%", "--failing", "secondary=lost:5%"
    )

    assert found["uncertain"] > 5
    assert {"possible": 0, "real": 0} == found["duplicates"]


def test_a_limit_is_used_up_and_never_exceeded(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """What comes in faster waits."""
    (folder / "stagepost.toml").write_text(SLOW)
    found = run(capsys, "--rate", "4/s", "--for", "2m", "--outage", "primary=0..10m")
    limit = next(one for one in found["limits"] if one["limit"] == "120/m")

    assert 120 == limit["most"]
    assert 0 < limit["full_share"] <= 1
    assert 100 < found["waiting_most"]
    assert found["delay_ms"]["max"] > 60_000


def test_counting_plain_emails_together_changes_nothing_that_matters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same emails, answers and ends as with every one of them through the code; delays within a few percent."""
    trouble = ("--failing", "primary=lost:2%", "--outage", "primary=30s..75s")
    arguments = ("--rate", "6/s", "--for", "100s", *trouble)
    together, exact = run(capsys, *arguments), run(capsys, "--exact", *arguments)

    assert 0 == exact["counted_together"] < together["counted_together"]
    assert together["emails"] == exact["emails"]
    assert together["attempts"] == pytest.approx(exact["attempts"], rel=0.02)
    assert together["delay_ms"]["p50"] == pytest.approx(exact["delay_ms"]["p50"], rel=0.1)
    assert together["circuit"][0]["at_s"] == pytest.approx(exact["circuit"][0]["at_s"], abs=3)


def test_the_same_seed_prints_the_same_bytes(folder: Path) -> None:
    """In processes whose sets are ordered differently: JSON and picture."""
    printed = {
        subprocess.run(
            [STAGEPOST, "simulate", *OUTAGE, "--json", "--svg", f"{seed}.svg"],
            cwd=folder,
            env=environment(PYTHONHASHSEED=seed),
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(printed)
    assert (folder / "1.svg").read_bytes() == (folder / "2.svg").read_bytes()


def test_another_seed_is_other_luck(capsys: pytest.CaptureFixture[str]) -> None:
    """As much mail, about."""
    one, other = (run(capsys, "--for", "1m", "--seed", seed)["emails"]["sent"] for seed in ("1", "2"))

    assert one != other
    assert one == pytest.approx(other, rel=0.2)


def test_two_configurations_stand_side_by_side(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """The same emails for both; tables for each, and one over both."""
    (folder / "slow.toml").write_text(SLOW)
    arguments = ("--rate", "5/s", "--for", "1m", "--outage", "primary=0..2m", "--compare", "slow.toml")
    both = json.loads(simulate(capsys, "--json", *arguments))["runs"]
    text = simulate(capsys, *arguments)
    row = next(line for line in text.splitlines() if line.startswith("emails requested"))

    assert ["stagepost.toml", "slow.toml"] == [one["config"] for one in both]
    assert both[0]["emails"]["requested"] == both[1]["emails"]["requested"]
    assert both[0]["delay_ms"]["p95"] < both[1]["delay_ms"]["p95"]
    assert [str(one["emails"]["requested"]) for one in both] == row.split()[2:]


def test_what_a_compared_configuration_can_t_play_is_said(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """Columns side by side would not tell that one of them had no outage."""
    (folder / "alone.toml").write_text(SLOW.replace("secondary", "other"))
    told = ("--rate", "1/s", "--for", "10s", "--outage", "secondary=1s..5s", "--compare", "alone.toml")

    assert 0 == main(["simulate", *told])
    assert (
        "stagepost: alone.toml has no provider 'secondary': what is said of it isn't played there\n"
        in capsys.readouterr().err
    )


def test_people_see_tables_and_a_timeline_and_a_picture(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """What came in, who sent it, when the circuit was open; the picture is whole, with nothing from outside."""
    lines = simulate(capsys, *OUTAGE, "--svg", "out.svg").splitlines()
    drawn = (folder / "out.svg").read_text(encoding="utf-8")
    texts = {one.text for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")}

    assert "4/s for 2m; 1 worker, seed 1; simulated, nothing is sent" == lines[0]
    assert any(line.startswith("circuit open  primary  ") for line in lines)
    assert any(line.startswith("primary sent    |") for line in lines)
    assert any(line.startswith("  circuit open  |") for line in lines)
    assert max(map(len, lines)) <= 120
    assert {"primary", "secondary", "primary circuit", "stagepost.toml", "0"} <= texts
    assert "http" not in drawn.replace(SVG.strip("{}"), "")


def test_nothing_is_written_but_the_picture(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """No database, no outbox; nor is a variable of the configuration needed."""
    simulate(capsys, "--for", "10s", "--svg", "out.svg")

    assert {"stagepost.toml", "out.svg"} == {one.name for one in folder.iterdir()}


def test_a_scenario_may_stand_in_a_file(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """And options go first."""
    (folder / "day.toml").write_text('rate = "20/s"\nfor = "30s"\n[providers.primary]\nlatency = "1s"\n')
    found = run(capsys, "--scenario", "day.toml", "--rate", "2/s")

    assert found["emails"]["requested"] == pytest.approx(60, rel=0.3)
    assert found["delay_ms"]["p50"] == pytest.approx(1000, rel=0.2)


def test_held_emails_are_not_waited_for(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """An operator would have to decide."""
    (folder / "stagepost.toml").write_text(CONFIG + '[uncertain]\npolicy = "hold"\n')
    found = run(capsys, "--for", "1m", "--failing", "primary=lost:10%")

    assert found["emails"]["held"] == found["emails"]["waiting"] > 20
    assert found["ended_s"] < 600


def test_too_many_waiting_are_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """As the service would, with 503."""
    (folder / "stagepost.toml").write_text(CONFIG + "[limits]\nqueue_max = 50\n")
    found = run(capsys, "--rate", "50/s", "--for", "5s", "--latency", "primary=4s")
    emails = found["emails"]

    assert emails["requested"] == emails["sent"] < 100 < emails["refused"]
    assert found["waiting_most"] < 80  # those that are counted together are not in the count


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--outage", "primary"), "--outage: 'primary' names nobody; write it like primary=10m..40m"),
        (("--route", "otp"), "--route: 'otp' names nobody; write it like otp=20%"),
        (("--latency", "first=1s"), '--latency: providers.first.latency: there is no provider "first"'),
        (("--throttle", "primary=1/s", "--throttle", "primary=2/s"), "--throttle: 'primary' is given twice"),
        (("--rate", "fast"), "--rate: rate: 'fast' is not a rate; write it like '50/s', '3000/m' or '0.5/s'"),
        (("--compare", "other.toml"), "other.toml: can't be read"),
    ],
)
def test_usage_errors_name_the_option_and_the_fix(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    """Exit 2, one line."""
    code = main(["simulate", *arguments])
    printed = capsys.readouterr()

    assert (2, "", 1) == (code, printed.out, printed.err.count("\n"))
    assert f"stagepost: {told}" in printed.err


def test_a_picture_that_can_t_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1."""
    code = main(["simulate", "--for", "1s", "--svg", "nowhere/out.svg"])

    assert 1 == code
    assert "--svg: nowhere/out.svg can't be written" in capsys.readouterr().err


def test_without_a_provider_there_is_nothing_to_simulate(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """Exit 2, as for `serve`."""
    (folder / "stagepost.toml").write_text("")

    assert 2 == main(["simulate"])
    assert "no provider is configured" in capsys.readouterr().err
