"""Which units the log takes, decided in memory: in order, each whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from application.projections.gates import touched_by
from application.recorded import Conflict, NewEvent, Recorded, StreamAppend, Unit
from domain.frozen import quick


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event with its place in its stream, and no position yet. `at` is its unit's."""

    stream: str
    version: int
    at: datetime
    new: NewEvent

    def recorded(self, position: int) -> Recorded:
        """The event at its place in the log."""
        return Recorded(
            position=position,
            event_id=self.new.event_id,
            stream=self.stream,
            version=self.version,
            at=self.at,
            event=self.new.event,
            correlation_id=self.new.correlation_id,
            causation_id=self.new.causation_id,
        )


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A unit that may be recorded, its events in the order of its appends."""

    unit: Unit
    entries: tuple[Entry, ...]


def streams_of(units: Sequence[Unit]) -> list[str]:
    """Every stream the units name, once, sorted: whose heads `admit` has to know."""
    return sorted({append.stream for unit in units for append in unit.appends})


def event_ids_of(units: Sequence[Unit]) -> list[str]:
    """Every event id the units bring, in their order."""
    return [new.event_id for unit in units for append in unit.appends for new in append.events]


def admit(
    units: Sequence[Unit], heads: Mapping[str, int], known_ids: Collection[str] = frozenset()
) -> list[Admitted | Conflict]:
    """Accept or refuse each unit, in order; a unit sees the streams as the admitted ones before it leave them.

    `heads`: the version of each stream that exists (no entry: 0). `known_ids`: those of the units' event ids
    that are recorded already. A unit that brings one of them, or one of an earlier unit, is refused by a
    conflict that finds its stream where it expected it.
    """
    now, ids = dict(heads), set(known_ids)
    answers: list[Admitted | Conflict] = []
    for unit in units:
        answer = _admit(unit, now, ids)
        answers.append(answer)
        if isinstance(answer, Admitted):
            for entry in answer.entries:
                now[entry.stream] = entry.version
                ids.add(entry.new.event_id)
    return answers


def _admit(unit: Unit, heads: Mapping[str, int], ids: Collection[str]) -> Admitted | Conflict:
    after: dict[str, int] = {}
    taken: set[str] = set()
    entries: list[Entry] = []
    for append in unit.appends:
        version = after.get(append.stream, heads.get(append.stream, 0))
        if version != append.expected_version:
            return _refused(append, version)
        for new in append.events:
            if new.event_id in ids or new.event_id in taken:
                return _refused(append, append.expected_version)
            taken.add(new.event_id)
            version += 1
            entries.append(Entry(stream=append.stream, version=version, at=unit.at, new=new))
        after[append.stream] = version
    return Admitted(unit=unit, entries=tuple(entries))


def _refused(append: StreamAppend, version: int) -> Conflict:
    return Conflict(stream=append.stream, expected=append.expected_version, actual=version)


class DecisionRefused(RuntimeError):
    """A decision's unit does not fit the log, although nobody got in between (or somebody always does)."""

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(
            f"the decision expects {conflict.stream} at version {conflict.expected}; it is at {conflict.actual}"
            + (", and one of its event ids is taken" if conflict.expected == conflict.actual else "")
        )
        self.conflict = conflict


def refuse_gates(admitted: Iterable[Admitted]) -> None:
    """Raises ValueError where an event would move a gate: only a transaction that has locked them may."""
    for entry in (entry for one in admitted for entry in one.entries):
        if touched_by(entry.recorded(0)):
            name = type(entry.new.event).__name__
            raise ValueError(
                f"{entry.stream}: {name} moves gates; record it in a transaction that locks them"
            )
