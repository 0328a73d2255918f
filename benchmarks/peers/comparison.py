"""Rounds in which every peer has its turn, and what follows from them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.peers.peer import Machine, Peer, Rates
from benchmarks.results import Measure, number, ratios

WANTED = {("delivered", "Postfix"): (3.0, 6.0)}
"""At least, and aim, where something is wanted of a ratio."""

COMPARED = (("delivered", "delivered"), ("accepted", "accepted"), ("processor time", "cpu_us"))
"""What is put in relation, and which of the rates that is."""

FAILED = "it failed"
"""How the reason begins, where a peer is here and doesn't work."""

WIDTH = 24
"""Of a column, in characters."""

Measured = Callable[[Peer, Machine, int], Rates]


@dataclass(slots=True)
class Comparison:
    """What came out: of each round, the rates of those who ran; and why the others didn't."""

    rounds: list[dict[str, Rates]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> list[Rates]:
        """A peer's rates, in the rounds that it ran in."""
        return [one[name] for one in self.rounds if name in one]


def compared(
    peers: Sequence[Peer], machine: Machine, emails: int, rounds: int, measured: Measured
) -> Comparison:
    """Let them take turns. One that can't run here, or fails on the way, is skipped from then on with a word why."""
    found = Comparison()
    for peer in peers:
        why = peer.missing(machine)
        if why is not None:
            found.skipped[peer.name] = why
    for _ in range(rounds):
        this: dict[str, Rates] = {}
        for peer in peers:
            if peer.name in found.skipped:
                continue
            try:
                this[peer.name] = measured(peer, machine, emails)
            except (Exception, SystemExit) as error:  # whatever it is, the others have their turn
                found.skipped[peer.name] = f"{FAILED}: {error}"
        found.rounds.append(this)
    return found


def measures(found: Comparison, ours: Sequence[str]) -> Iterator[Measure]:
    """Stagepost through each other, round by round: delivered, accepted, processor time of an email."""
    names = list(dict.fromkeys(name for one in found.rounds for name in one))
    for what, rate in COMPARED:
        for own in ours:
            for other in names:
                both = [one for one in found.rounds if own in one and other in one]
                if other in ours or not both:
                    continue
                at_least, aim = WANTED.get((what, other), (None, None))
                yield Measure(
                    name=f"{what}: {own}",
                    limit=other,
                    values=ratios(
                        [getattr(one[own], rate) for one in both], [getattr(one[other], rate) for one in both]
                    ),
                    at_least=at_least,
                    aim=aim,
                    less=rate == "cpu_us",
                )


def replay_measures(rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[Measure]:
    """Stagepost's replay through the library's, on each database it was measured on."""
    for kind, taken in rounds.items():
        theirs = next(name for name in taken[0] if name != "Stagepost")
        values = ratios([one["Stagepost"] for one in taken], [one[theirs] for one in taken])
        yield Measure(name=f"replay: Stagepost, {kind}", limit=theirs, values=values, at_least=3.5, aim=5.0)


def rates_table(found: Comparison, acks: Mapping[str, str]) -> str:
    """A line for each that ran: medians, and what being accepted means."""
    lines = [f"{'emails a second':{WIDTH}}{'accepted':>10}{'delivered':>11}{'CPU µs':>9}   accepted means"]
    for name, ack in acks.items():
        if taken := found.of(name):
            accepted, delivered, cpu = (
                number(statistics.median(getattr(one, rate) for one in taken))
                for rate in ("accepted", "delivered", "cpu_us")
            )
            lines.append(f"{name:{WIDTH}}{accepted:>10}{delivered:>11}{cpu:>9}   {ack}")
    return "\n".join(lines)


def ratios_table(derived: Sequence[Measure]) -> str:
    """A line for each of ours with each other: the median of the rounds' ratios, and their spread."""
    names = list(dict.fromkeys(one.name.partition(": ")[0] for one in derived))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for one in derived:
        what, _, own = one.name.partition(": ")
        spread = f"{number(min(one.values))} – {number(max(one.values))}"
        lines.setdefault((own, one.limit), {})[what] = f"{number(one.median)} ({spread})"
    texts = [f"{'ratios, spread':{2 * WIDTH}}" + "".join(f"{name:>{WIDTH}}" for name in names)]
    for (own, other), cells in lines.items():
        values = "".join(f"{cells.get(name, ''):>{WIDTH}}" for name in names)
        texts.append(f"{f'{own} ÷ {other}':{2 * WIDTH}}{values}".rstrip())
    return "\n".join(texts)


def rounds_as_json(found: Comparison) -> list[dict[str, Any]]:
    """The rates of each round."""
    return [{name: asdict(rates) for name, rates in one.items()} for one in found.rounds]
