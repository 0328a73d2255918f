"""Views made anew beside those who use them: each row that isn't as its events say is written, and no other.

A row is compared with a fold of its stream, both of one snapshot, and written in a short transaction that holds it,
if its stream still ends where the fold did. So nobody ever finds fewer rows, or an older one, and nothing is left
behind where it is ended early.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from adapters.gate_codec import encode_gate
from adapters.sql import gates, log, tables
from adapters.sql.dialect import Insert, Sql
from adapters.sql.engine import Database, Rows, Session
from adapters.sql.fold_pool import folded
from adapters.sql.folding import Folder, Wrong
from adapters.sql.gate_folding import GateFolder
from adapters.sql.views import ATTEMPTS, EMAILS, LOCK
from application.ports import StoreUnavailable
from application.projections.gates import Gate
from application.recorded import email_stream
from application.replay import Counted, Mended, Told
from application.stored import Row, Span
from domain.circuit import CircuitPolicy

MENDED_TOGETHER = 200
"""Emails written in one transaction: on SQLite nobody else can write meanwhile."""

PAUSE_SHARE = 1.0
"""After a transaction it waits as long as that took, times this: half of the time is left to those who take mail."""

TURNS_MAX = 100
"""An email whose stream grew each time it was to be written is being written by whoever makes it grow."""

REST_MAX = 2000
"""Positions that are folded while the gates are held."""

ADD = Insert.into(tables.emails, "(email_id) DO NOTHING")
FORGET = Sql("DELETE FROM emails WHERE email_id = ANY(:email_ids)")
FORGET_ATTEMPTS = Sql("DELETE FROM attempts WHERE email_id = ANY(:email_ids)")
FORGET_GATES = Sql("DELETE FROM gates WHERE name = ANY(:names)")
ROWS_OF_GATES = Sql(
    f"SELECT {', '.join(column.name for column in tables.gates.columns)} FROM gates ORDER BY name"
)


class SqlFolds:
    """`Folds` (see there for what its methods promise). `workers`: processes to fold in; None: as many as help."""

    def __init__(self, database: Database, circuit: CircuitPolicy, *, workers: int | None = None) -> None:
        self._database = database
        self._window = circuit.window
        self._gates = gates.Gates(circuit)
        self._workers = workers

    def count(self, told: Told) -> Counted:
        last = self._last()
        types: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        for one in folded(self._database, last, compare=False, workers=self._workers):
            types += one.types
            statuses += one.statuses
            outcomes += one.outcomes
            told(min(types.total(), last), last)
        folder = GateFolder(self._database, self._window)
        folder.run(lambda done, whole: told(last, last))
        for name in folder.types.keys() - types.keys():
            types[name] = folder.types[name]  # those of circuits, which no email's stream has
        return Counted(types.total(), types, statuses, outcomes, len(folder.fold.gates()))

    def mend_emails(self, told: Told) -> Mended:
        last = self._last()
        events = rows = removed = 0
        for one in folded(self._database, last, compare=True, workers=self._workers):
            for batch in _batches(one.wrong):
                written, taken = self._mend(batch)
                rows, removed = rows + written, removed + taken
                told(min(events, last), last)
            events += one.events
            told(min(events, last), last)
        return Mended(events, rows, removed)

    def mend_gates(self, told: Told) -> Mended:
        folder = GateFolder(self._database, self._window)
        for _ in range(TURNS_MAX):
            folder.run(told)
            if self._last() - folder.position <= REST_MAX:
                break
        while (written := self._database.write(partial(_write_gates, folder=folder))) is None:
            names = folder.fold.gates()
            self._database.write(partial(self._gates.create, names=names))
        return Mended(folder.types.total(), *written)

    def _last(self) -> int:
        last: int = self._database.read(lambda session: session.value(log.LAST))
        return last

    def _mend(self, wrong: Sequence[Wrong]) -> tuple[int, int]:
        """Write what is wrong; how many rows of emails that was, and how many were removed."""
        rows = removed = 0
        for _ in range(TURNS_MAX):
            began = time.monotonic()
            again = self._database.write(partial(_write, wrong=wrong))
            done = [one for one in wrong if one.email_id not in again]
            rows += sum(1 for one in done if one.version)
            removed += sum(1 for one in done if not one.version)
            if not again:
                time.sleep((time.monotonic() - began) * PAUSE_SHARE)
                return rows, removed
            wrong = [found for one in sorted(again) for found in self._look(one)]
        raise StoreUnavailable("emails changed each time that their rows were to be written")

    def _look(self, email_id: str) -> list[Wrong]:
        """The email as it is by now, if its rows still are not."""
        folder = Folder(self._database)
        return folder.fold(Span(_before(email_id), email_id), compare=True).wrong


def _before(email_id: str) -> str:
    """A text below the id, with nothing in between that is an id as well: no id has this character in it."""
    return email_id[:-1] + chr(ord(email_id[-1]) - 1) + "\U0010ffff" if email_id else ""


def _batches(wrong: Sequence[Wrong]) -> Iterator[Sequence[Wrong]]:
    for start in range(0, len(wrong), MENDED_TOGETHER):
        yield wrong[start : start + MENDED_TOGETHER]


def _write(session: Session, wrong: Sequence[Wrong]) -> set[str]:
    """Have the rows as they are to be; the ids of those that have moved on since, whose rows are left alone.

    Where a row is missing it can't be held: it is added first, and where somebody else adds it just now, he has it.
    """
    ids = sorted(one.email_id for one in wrong)
    there = _held(session, ids)
    session.insert(
        ADD, _sorted(one.email for one in wrong if one.email is not None and one.email_id not in there)
    )
    _held(session, ids)
    heads = log.heads(session, [email_stream(one) for one in ids])
    right, again = [], set()
    for one in wrong:
        head = heads.get(email_stream(one.email_id))
        if one.version == (0 if head is None else head.version):
            right.append(one)
        else:
            again.add(one.email_id)
    session.run(FORGET_ATTEMPTS, email_ids=[one.email_id for one in right])
    session.run(FORGET, email_ids=[one.email_id for one in right if one.email is None])
    session.insert(EMAILS, _sorted(one.email for one in right if one.email is not None))
    session.insert(ATTEMPTS, _sorted(row for one in right for row in one.attempts))
    return again


def _held(session: Session, ids: Sequence[str]) -> set[str]:
    return {row[0] for row in session.rows(LOCK, email_ids=list(ids))}


def _sorted(rows: Iterable[Row | None]) -> Rows:
    return sorted((row for row in rows if row is not None), key=lambda row: row[:2])


def _write_gates(session: Session, folder: GateFolder) -> tuple[int, int] | None:
    """Hold all gates, fold the rest, and have their rows as they are to be; how many were not, or were removed.

    None, and nothing is written, where rows are missing: what isn't there can't be held, and may be made meanwhile.
    """
    session.rows(gates.LOCK)
    last = session.value(log.LAST)
    # Whoever moved gates has ended: nothing that does comes in front of this.
    folder.add(folder.read(session, last), last)
    stored = {row[0]: tuple(row) for row in session.rows(ROWS_OF_GATES)}
    rows = {
        name: gates.row(gate, encode_gate(gate), session.stamp)
        for name, gate in sorted(folder.fold.gates().items())
    }
    if rows.keys() - stored.keys():
        return None
    wrong = [row for name, row in rows.items() if stored.get(name) != row]
    session.insert(gates.STORE, wrong)
    unknown = sorted(name for name, row in stored.items() if name not in rows and not _is_new(row))
    session.run(FORGET_GATES, names=unknown)
    return len(wrong), len(unknown)


def _is_new(row: tuple[object, ...]) -> bool:
    """Whether it is a row that was only made for somebody to hold."""
    gate = Gate(name=str(row[0]))
    return row[1:-1] == gates.row(gate, "", lambda at: at)[1:-1]
