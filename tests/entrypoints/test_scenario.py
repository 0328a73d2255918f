"""Scenarios as people write them, in a file and as options."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from application.settings import ProviderSettings
from application.simulate_scenario import Burst, Manner, Pace, Sample, Scenario, Silence, Span, Trouble
from domain.failures import FailureKind
from domain.rate_limit import Rate
from domain.routing import Route
from entrypoints.config_source import ConfigError
from entrypoints.scenario import Option, load_scenario
from tests.application.world import settings

CONFIGURED = settings(
    ProviderSettings(name="primary", type="smtp"),
    "secondary",
    routes={
        "otp": Route(name="otp", providers=("secondary",), match_tag="otp"),
        "late": Route(name="late", providers=("secondary",), match_tag="otp", match_from_domain="a.example"),
        "news": Route(name="news", providers=("primary",), match_from_domain="news.example"),
        "default": Route(name="default", providers=("primary", "secondary")),
    },
)
FILE = """
rate = "3000/m"
for = "2h"
burst = ["5_000@30m", "10@0"]
seed = 7
workers = 2

[routes]
otp = "20%"
news = "5.5%"

[providers.primary]
latency = ["200ms", "5s@10m..20m"]
outage = "10m..40m"
failing = ["transient:2%", "lost:1%@10m..20m", "account@1h.."]
throttle = "300/m"
"""


def load(tmp_path: Path, text: str, *options: Option) -> Scenario:
    """The scenario in a file of this text."""
    file = tmp_path / "scenario.toml"
    file.write_text(text)
    return load_scenario(file, list(options), CONFIGURED)


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    """Every key, once."""
    read = load(tmp_path, FILE)

    assert read == Scenario(
        per_s=50.0,
        lasts=timedelta(hours=2),
        samples=(
            Sample("otp", 0.2, ("otp",), "shop.example"),
            Sample("news", 0.055, (), "news.example"),
            Sample("default", 1 - 0.255, (), "shop.example"),
        ),
        bursts=(Burst(5000, 1800.0), Burst(10, 0.0)),
        manners={
            "primary": Manner(
                paces=(Pace(0.2), Pace(5.0, Span(600.0, 1200.0))),
                troubles=(
                    Trouble(FailureKind.TRANSIENT, 1.0, Span(600.0, 2400.0)),
                    Trouble(FailureKind.TRANSIENT, 0.02),
                    Trouble(Silence.LOST, 0.01, Span(600.0, 1200.0)),
                    Trouble(FailureKind.ACCOUNT, 1.0, Span(3600.0, math.inf)),
                ),
                throttle=Rate.parse("300/m"),
            )
        },
        workers=2,
        seed=7,
    )


def test_nothing_said_is_an_hour_of_plain_mail() -> None:
    """Ten a second for the default route."""
    read = load_scenario(None, [], CONFIGURED)

    assert (10.0, timedelta(hours=1)) == (read.per_s, read.lasts)
    assert [("default", 1.0)] == [(one.name, one.share) for one in read.samples]


def test_an_option_takes_the_place_of_its_key_alone(tmp_path: Path) -> None:
    """The rest is as the file says."""
    read = load(
        tmp_path,
        FILE,
        Option("--rate", ("rate",), "1/s"),
        Option("--latency", ("providers", "primary", "latency"), ["1s"]),
        Option("--outage", ("providers", "secondary", "outage"), ["1m..2m"]),
    )

    assert (1.0, 7) == (read.per_s, read.seed)
    assert (Pace(1.0),) == read.manners["primary"].paces
    assert 4 == len(read.manners["primary"].troubles)
    assert (Trouble(FailureKind.TRANSIENT, 1.0, Span(60.0, 120.0)),) == read.manners["secondary"].troubles


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rate = 50", "rate: '50' is not a rate; write it like '50/s', '3000/m' or '0.5/s'"),
        ('rates = "50/s"', 'rates: unknown key; did you mean "rate"?'),
        ('for = "40d"', "for: is too long; at most '31d'"),
        (
            'rate = "1000000/s"',
            "rate: makes 3600000000 emails; at most 20000000: lower the rate, or make it shorter",
        ),
        ('burst = "5@2h"', "burst: comes after the end; let it come before, or make it last longer"),
        ('burst = "many"', "burst: 'many' is not a burst; write it like '5000@30m': so many emails, then"),
        ("seed = 0", "seed: 0 is out of range; write a whole number from 1 to 2147483647, without quotes"),
        ("providers = 1", "providers: a number stands where a table belongs; write it as [providers]"),
        ("[providers.first]", 'providers.first: there is no provider "first"; known: primary, secondary'),
        (
            '[providers.primary]\noutage = "10m"',
            "providers.primary.outage: '10m' is not a span of time; "
            "write it like '10m..40m', or '10m..' for until the end",
        ),
        (
            '[providers.primary]\noutage = "10m..5m"',
            "providers.primary.outage: '10m..5m' ends before it begins; "
            "write it like '10m..40m', or '10m..' for until the end",
        ),
        (
            '[providers.primary]\nfailing = "transent:1%"',
            "providers.primary.failing: 'transent' is no way to fail; did you mean \"transient\"?",
        ),
        (
            '[providers.primary]\nfailing = "lost:101%"',
            "providers.primary.failing: '101%' is not a share; write it like '20%', at most '100%'",
        ),
        ('[routes]\notp = "60%"\nnews = "60%"', "routes: add up to 120%; let them add up to 100% at most"),
        ('[routes]\nopt = "60%"', 'routes.opt: there is no route "opt"; did you mean "otp"?'),
        (
            '[routes]\nlate = "6%"',
            'routes.late: an email for it takes "otp"; put it before "otp" in the file',
        ),
    ],
)
def test_what_can_t_be_played_is_said_with_what_could(tmp_path: Path, text: str, told: str) -> None:
    """The file, the key, what is wrong, what would be right."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)

    assert f"{tmp_path / 'scenario.toml'}: {told}" == str(error.value)


def test_what_an_option_said_is_the_option_s_fault(tmp_path: Path) -> None:
    """Not the file's."""
    option = Option("--outage", ("providers", "first", "outage"), ["1m..2m"])
    with pytest.raises(ConfigError) as error:
        load(tmp_path, FILE, option)

    told = '--outage: providers.first.outage: there is no provider "first"; known: primary, secondary'
    assert told == str(error.value)
