"""What must hold of a run that is over: the invariants of the design, over the log and over what providers received.

    I1   each answered request has exactly one `Requested`, with content as long as that is needed; and no other
         request under its key was accepted
    I2   exactly one end since the last `Redriven`, and nobody is left out who is said to be done
    I5   no call without its `AttemptStarted` in the log, and one call for each
    I6   no limit exceeded: of starts in any window, of attempts open at a time
    I7   no probe is out that nobody has
    I8   no start under a lease that is gone
    I10  the live views are those that a fold of the log gives
    I13  no address and no content in the log, in what is logged, or in what `explain` tells

What emails say of their recipients, and what is so: `truth`. The log's own are `application.invariants` (I2, I3, I5,
I7, I8, I9, I11, I12); I14 is `audit`'s.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from adapters.codec import encode_new, micros
from application.explain import explain, explain_at
from application.invariants import worst_window
from application.ports import Locked, Plan
from application.projections.gates import Gate, provider_gate
from application.recorded import NewEvent, Recorded, email_stream
from domain.circuit import Phase
from domain.email.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    Failed,
    OutcomeUncertain,
    PartlySent,
    Redriven,
    Requested,
    Sent,
)
from domain.email.state import End
from domain.rate_limit import Rate
from tests.simulation import truth
from tests.simulation.plan import BODY, SUBJECT
from tests.simulation.violated import hold

if TYPE_CHECKING:
    from tests.simulation.provider import Copy
    from tests.simulation.world import World

Closing = AttemptFailed | PartlySent | OutcomeUncertain | Sent


def check(world: World) -> None:
    """All of them."""
    log = world.audit.log
    streams: dict[str, list[Recorded]] = defaultdict(list)
    for one in log:
        streams[one.stream].append(one)
    _requests(world, streams)
    copies: dict[str, list[Copy]] = defaultdict(list)
    for copy in world.copies:
        copies[copy.email_id].append(copy)
    for email_id in world.audit.views.emails:
        story = streams[email_stream(email_id)]
        _ends(world, email_id, story)
        truth.check(world, email_id, story, copies[email_id])
    truth.heard(world)
    _fenced(world)
    _calls(world)
    _limits(world, log)
    _views(world)
    _secrets(world, log, streams)


def text_of(log: Iterable[Recorded]) -> list[str]:
    """The log as lines, the same for the same log."""
    lines = []
    for one in log:
        new = NewEvent(
            event_id=one.event_id,
            event=one.event,
            correlation_id=one.correlation_id,
            causation_id=one.causation_id,
        )
        stored, meta, data = encode_new(new)
        place = (one.position, one.stream, one.version, micros(one.at), one.event_id)
        lines.append("\t".join((*map(str, place), stored, meta, data)))
    return lines


def _requests(world: World, streams: dict[str, list[Recorded]]) -> None:
    kept = world.store.contents([receipt.email_id for _, _, receipt in world.evidence.receipts])
    given: dict[str, bytes] = {}
    for mail, asked, receipt in world.evidence.receipts:
        story = streams.get(email_stream(receipt.email_id), [])
        requested = sum(isinstance(one.event, Requested) for one in story)
        hold(requested == 1, "I1", f"{mail.key} was accepted, and is requested {requested} times")
        gone = receipt.email_id not in kept and world.plan.kept_s is None
        hold(not gone, "I1", f"{mail.key} was accepted, and has no content")
        erased = any(isinstance(one.event, AttemptFailed) and one.event.code == "erased" for one in story)
        hold(not erased, "I1", f"{mail.key} was to be sent, and its content had been erased")
        first = given.setdefault(receipt.email_id, asked)
        hold(first == asked, "I1", f"two requests were accepted as {mail.key}")


def _ends(world: World, email_id: str, story: Sequence[Recorded]) -> None:
    ends = 0
    for one in story:
        ends = (
            0 if isinstance(one.event, Redriven) else ends + isinstance(one.event, Sent | Failed | Cancelled)
        )
    email = world.audit.views.emails[email_id].email
    hold(ends == 1, "I2", f"{email_id} has {ends} ends")
    if email.end is End.SENT:
        hold(not email.pending, "I2", f"{email_id} is sent, without {email.pending}")


def _fenced(world: World) -> None:
    for (email_id, attempt), start in world.audit.starts.items():
        event = start.event
        assert isinstance(event, AttemptStarted)
        gone = world.evidence.gone.get(event.token, start.position)
        hold(start.position <= gone, "I8", f"{email_id}: attempt {attempt} started without a lease")


def _calls(world: World) -> None:
    hold(not world.evidence.unannounced, "I5", f"called without a start: {world.evidence.unannounced[:1]}")
    many = Counter((call.email_id, call.attempt) for call in world.evidence.calls)
    hold(max(many.values(), default=1) == 1, "I5", f"more than one call: {many.most_common(1)}")
    for call in world.evidence.calls:
        start = world.audit.starts[call.email_id, call.attempt].event
        assert isinstance(start, AttemptStarted)
        hold(start.provider == call.provider, "I5", f"called elsewhere: {call}")


def _limits(world: World, log: Sequence[Recorded]) -> None:
    starts: dict[str, list[datetime]] = defaultdict(list)
    out: Counter[str] = Counter()
    for one in log:
        event = one.event
        if isinstance(event, AttemptStarted):
            for name in (f"provider {event.provider}", f"route {event.route}", "service"):
                starts[name].append(one.at)
            out[event.provider] += 1
            most = world.settings.providers[event.provider].concurrency
            hold(out[event.provider] <= most, "I6", f"{event.provider}: {out} attempts open, {most} allowed")
        elif isinstance(event, Closing) and event.provider is not None and event.attempt is not None:
            out[event.provider] -= 1
    limits: dict[str, tuple[Rate, ...]] = {
        "service": world.settings.service_rates,
        **{f"route {name}": rates for name, rates in world.settings.route_rates.items()},
        **{f"provider {name}": one.rates for name, one in world.settings.providers.items()},
    }
    for name, rates in limits.items():
        for rate in rates:
            worst = worst_window(starts[name], rate.window)
            hold(worst <= rate.limit, "I6", f"{name}: {worst} starts, {rate} allowed")


def _views(world: World) -> None:
    folded = world.audit.views
    live = _live(world, tuple(sorted(folded.emails)))
    for email_id, view in folded.emails.items():
        hold(live.emails[email_id] == view, "I10", f"the row of {email_id} is not what its events give")
    for name, gate in folded.gates.items():
        hold(live.gates[name] == gate, "I10", f"the gate {name} is not what its events give")
    for name in world.providers:
        gate = live.gates.get(provider_gate(name)) or Gate(name=provider_gate(name))
        hold(gate.open_attempts == 0, "I10", f"{name}: {gate.open_attempts} attempts open, in truth none")
        leaked = gate.circuit.out if gate.circuit.phase is not Phase.CLOSED else frozenset()
        hold(not leaked, "I7", f"{name}: probes {sorted(leaked)} are out, and nobody has them")


def _live(world: World, email_ids: tuple[str, ...]) -> Locked:
    """The views as whoever decides gets them."""
    seen: list[Locked] = []

    def decide(locked: Locked) -> tuple[()]:
        seen.append(locked)
        return ()

    world.store.transact(Plan(emails=email_ids), decide)
    return seen[-1]


def _secrets(world: World, log: Sequence[Recorded], streams: Mapping[str, Sequence[Recorded]]) -> None:
    told = [
        *text_of(log),
        *(f"{word} {fields}" for word, fields in world.lines.lines),
        *_explained(world, streams),
    ]
    for line in told:
        for secret in ("@", SUBJECT, BODY):
            hold(secret not in line, "I13", line)


def _explained(world: World, streams: Mapping[str, Sequence[Recorded]]) -> Iterator[str]:
    """Every email's story, as it ended and as it stood at some time before: whatever happened, it can be told."""
    for email_id in world.audit.views.emails:
        story = streams[email_stream(email_id)]
        yield str(explain(story, world.clock.now()))
        # Where whoever accepted it had a clock that was ahead, some events lie before the first.
        times = [one.at for one in story if one.at >= story[0].at]
        yield str(explain_at(story, world.rng("explained", email_id).choice(times)))
