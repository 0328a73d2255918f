"""`simulate`: what the configuration would make of so much mail and of such outages, on a clock that does not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from application.simulate_results import Results
from application.simulate_scenario import Scenario
from entrypoints.bootstrap_simulation import SimulationFailed
from entrypoints.bootstrap_simulation import simulate as play
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import BadUsage, CannotDo, print_error, print_json, show
from entrypoints.cli.progress import progress
from entrypoints.cli.simulated import parts
from entrypoints.config import Config, load_config
from entrypoints.scenario import Option, load_scenario
from entrypoints.simulated_shape import simulated
from entrypoints.simulated_svg import drawn

Rate = Annotated[str | None, Parameter(help="How many emails come in: '50/s', '3000/m'; default: 10/s.")]
Lasts = Annotated[str | None, Parameter(name="--for", help="For how long; default: 1h.")]
Bursts = Annotated[list[str] | None, Parameter(name="--burst", help="So many at once, then: '5000@30m'.")]
Outages = Annotated[
    list[str] | None, Parameter(name="--outage", help="A provider can't be reached: 'primary=10m..40m'.")
]
Latencies = Annotated[
    list[str] | None,
    Parameter(name="--latency", help="How long it takes to answer: 'primary=800ms', 'primary=5s@10m..20m'."),
]
Failures = Annotated[
    list[str] | None,
    Parameter(
        name="--failing", help="A share of its answers: 'primary=transient:2%', 'primary=lost:1%@10m..20m'."
    ),
]
Throttles = Annotated[
    list[str] | None, Parameter(name="--throttle", help="It takes no more than so many: 'primary=300/m'.")
]
Routes = Annotated[
    list[str] | None, Parameter(name="--route", help="A share of the emails takes this route: 'otp=20%'.")
]
Workers = Annotated[int | None, Parameter(help="How many workers send; default: 1.")]
Seed = Annotated[int | None, Parameter(help="Another seed is other luck; default: 1.")]
ScenarioFile = Annotated[
    Path | None, Parameter(name="--scenario", help="All of this from a TOML file; options go first.")
]
OtherConfig = Annotated[
    Path | None,
    Parameter(name="--compare", help="Another configuration, for the same scenario, side by side."),
]
Svg = Annotated[Path | None, Parameter(name="--svg", help="Draw it into this file as well.")]
Exact = Annotated[
    bool, Parameter(negative="", help="Spare no email the whole code, however plain it is: far slower.")
]


def simulate(
    *,
    rate: Rate = None,
    lasts: Lasts = None,
    burst: Bursts = None,
    outage: Outages = None,
    latency: Latencies = None,
    failing: Failures = None,
    throttle: Throttles = None,
    route: Routes = None,
    workers: Workers = None,
    seed: Seed = None,
    scenario: ScenarioFile = None,
    config: ConfigFile = None,
    compare: OtherConfig = None,
    svg: Svg = None,
    exact: Exact = False,
    as_json: AsJson = False,
) -> None:
    """Play so much mail and such outages with this configuration, in virtual time. Nothing is sent."""
    loaded = configuration(config)
    loaded.require_providers()
    options = _plain({"--rate": rate, "--for": lasts, "--burst": burst, "--workers": workers, "--seed": seed})
    options += _named("--route", route or [], single=True)
    for name, given in (("outage", outage), ("latency", latency), ("failing", failing)):
        options += _named(f"--{name}", given or [])
    options += _named("--throttle", throttle or [], single=True)
    played = load_scenario(scenario, options, loaded.settings())
    configs = {loaded.source.file: loaded}
    if compare is not None:
        other = load_config(compare)
        other.require_providers()
        for name in sorted(played.manners.keys() - other.providers.keys()):
            print_error(f"{compare} has no provider {name!r}: what is said of it isn't played there")
        configs[_other_name(str(compare), configs)] = other
    runs = _play(configs, played, exact=exact)
    if svg is not None:
        _write(svg, drawn(played, runs))
    if as_json:
        print_json(simulated(played, runs))
    else:
        show(*parts(played, runs))


def _plain(given: dict[str, str | int | list[str] | None]) -> list[Option]:
    """What stands in a scenario under the option's own name."""
    return [
        Option(name, (name.removeprefix("--"),), value) for name, value in given.items() if value is not None
    ]


def _named(option: str, given: list[str], *, single: bool = False) -> list[Option]:
    """What is said of providers, or of routes, by name: each may be named several times, where that makes sense."""
    found: dict[str, list[str]] = {}
    key = option.removeprefix("--")
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals or not value:
            example = {"--route": "otp=20%", "--throttle": "primary=300/m", "--latency": "primary=800ms"}
            form = example.get(option, f"primary={'10m..40m' if key == 'outage' else 'transient:2%'}")
            raise BadUsage(f"{option}: {one!r} names nobody; write it like {form}")
        found.setdefault(name, []).append(value)
    paths = {name: ("routes", name) if key == "route" else ("providers", name, key) for name in found}
    if single and (twice := [name for name, values in found.items() if len(values) > 1]):
        raise BadUsage(f"{option}: {twice[0]!r} is given twice; give it once")
    return [Option(option, paths[name], values[0] if single else values) for name, values in found.items()]


def _other_name(name: str, known: dict[str, Config]) -> str:
    return f"{name} (again)" if name in known else name


def _play(configs: dict[str, Config], scenario: Scenario, *, exact: bool) -> dict[str, Results]:
    runs: dict[str, Results] = {}
    for name, config in configs.items():
        with progress() as told:
            try:
                runs[name] = play(config, scenario, exact=exact, told=told)
            except SimulationFailed as error:
                raise CannotDo(f"the simulation met a mistake of ours, please report it: {error}") from error
    return runs


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotDo(f"--svg: {file} can't be written ({error.strerror}); name another file") from None
