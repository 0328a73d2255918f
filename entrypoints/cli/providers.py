"""`providers`: how each way out stands, whether it would let us in, and taking one out of use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from application.queries import ProviderStatus
from entrypoints import shapes
from entrypoints.cli.inquire import ask
from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import FINE, NOT, CannotDo, clock, columns, print_error, print_json, show
from entrypoints.cli.writing import no_provider, open_writer
from entrypoints.config import Config

Name = Annotated[str, Parameter(name="NAME", help="Its name in the configuration.")]

app = App(name="providers")


@app.command(name="list")
def list_all(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how every configured provider stands."""
    loaded = configuration(config)
    loaded.require_providers()
    found = ask(loaded, lambda reader: reader.providers())
    if as_json:
        print_json({"data": [shapes.provider(one) for one in found]})
    else:
        _print(found)


@app.command(name="test")
def try_out(name: Name, /, *, config: ConfigFile = None, as_json: AsJson = False) -> int:
    """Connect and log in as an attempt would, and send nothing."""
    loaded = configuration(config)
    if name not in loaded.providers:
        raise CannotDo(no_provider(loaded, name))
    fit, seen = asyncio.run(_check(loaded, name))
    if as_json:
        print_json({"name": name, "ok": fit, "seen": seen})
    elif fit:
        print(f"{name}: {seen}")
    else:
        print_error(f"{name}: {seen}")
    return FINE if fit else NOT


@app.command
def pause(name: Name, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Start no attempt there until it is resumed; those under way end."""
    _act(configuration(config), name, "pause", as_json)


@app.command
def resume(name: Name, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Use it again."""
    _act(configuration(config), name, "resume", as_json)


@app.command
def reset(name: Name, /, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Close its circuit: what made it open is repaired."""
    _act(configuration(config), name, "reset", as_json)


def _act(config: Config, name: str, action: str, as_json: bool) -> None:
    with open_writer(config) as writer:
        shape = writer.provider(name, action)
    if as_json:
        print_json(shape)
    else:
        print(f"{name}: {'paused' if shape['paused'] else 'in use'}, circuit {_words(shape['circuit'])}")


async def _check(config: Config, name: str) -> tuple[bool, str]:
    from application.provider_port import ProviderUnfit
    from entrypoints.bootstrap_providers import make_provider

    provider = make_provider(config, name)
    try:
        return True, await provider.check()
    except ProviderUnfit as error:
        return False, str(error)
    finally:
        await provider.close()


def _print(found: Sequence[ProviderStatus]) -> None:
    head = ("name", "type", "state", "under way", "limits")
    rows = [
        (one.name, one.type, _state(one), str(one.open_attempts), "  ".join(_limits(one))) for one in found
    ]
    show(columns(rows, head=head))


def _state(one: ProviderStatus) -> str:
    said = ["paused"] if one.paused else []
    if one.circuit.value != "closed":
        until = f" until {clock(one.open_until)}" if one.open_until else ""
        said.append(f"circuit {_words(one.circuit.value)}{until}")
    if one.not_before is not None:
        said.append(f"asked for a pause until {clock(one.not_before)}")
    return ", ".join(said) or "in use"


def _limits(one: ProviderStatus) -> list[str]:
    return [f"{limit.used} of {limit.rate} used" for limit in one.limits]


def _words(value: str) -> str:
    return value.replace("_", " ")
