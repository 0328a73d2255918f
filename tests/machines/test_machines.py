"""A short run of what `make machines` plays for long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.machines.network import NoNetwork, check
from tests.machines.plan import SMALL, WHOLE, Kind, draw, fitting
from tests.machines.run import table
from tests.machines.scenario import Scenario, play

SEED = 20261124
WORKERS, APIS = ("worker-1", "worker-2"), ("api-1", "api-2")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to PostgreSQL's user, which pytest's own folders are not."""
    try:
        check()
    except NoNetwork as error:
        pytest.skip(str(error))
    with TemporaryDirectory(prefix="stagepost-machines-") as made:
        yield Path(made)


def test_hosts_fail_and_nothing_is_lost(folder: Path) -> None:
    """A worker is killed, another one cut off from the database, and the primary dies, its host with it."""
    scenario = Scenario(
        emails=300, per_second=25, seed=SEED, mix=SMALL, workers=2, clients=8, lease_s=3, unplugged=True
    )
    played = play(folder, scenario)
    print(*(f"{what}: {value}" for what, value in table(played)), sep="\n")

    assert {"worker: kill -9": 1, "worker: cut off from the database": 1} == {
        what: n for what, n in played.strikes.items() if "primary" not in what
    }
    assert len(played.answers.told.emails) == 300
    assert played.measured.no_answer_s is not None
    assert played.measured.no_answer_s < 20


def test_a_seed_says_what_goes_wrong() -> None:
    """The same again for the same seed; in order, between the calm parts; one partition outlasts a lease."""
    drawn = [draw(seed, 10_000, mix=WHOLE, workers=WORKERS, apis=APIS, lease_s=6) for seed in (7, 7, 8)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0], key=lambda one: one.at) == list(drawn[0])
    assert all(1500 <= one.at <= 8500 for one in drawn[0])
    assert max(one.lasts_s for one in drawn[0] if one.kind is Kind.CUT_DATABASE) > 6


def test_a_shorter_load_has_less_of_it_but_something_of_everything() -> None:
    """So that a try shows what a long run will do."""
    assert WHOLE == fitting(10_000)
    assert (1, 2) == (fitting(10).worker_kills, fitting(50).worker_kills)
    assert 1 == fitting(1).failover
