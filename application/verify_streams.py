"""One stream at a time: that its events follow each other, and give what is stored of its email."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from application.invariants import StreamCheck
from application.projections.emails import EmailView, project, view_of
from application.recorded import Event, Recorded, email_stream
from application.stored import EmailRows, Finding, Row, Stored, StoredLog
from application.verify_content import Forms, content_problem
from application.verify_found import Found, Of
from domain.email.events import Requested


class _Broken(Exception):
    """The log is not what was recorded, or can't be read."""

    def __init__(self, position: int, stream: str, what: str) -> None:
        super().__init__(what)
        self.finding = Finding(position, stream, what)


def followed(stored: StoredLog, events: Sequence[Stored | Finding]) -> list[Stored]:
    """The events of one stream, each of which follows the one before it by version, position and hash.

    Raises _Broken at the first position where one doesn't.
    """
    try:
        return _followed(stored, events)
    except _Broken:
        # By versions it is another one that shows, where a version was changed.
        return _followed(stored, sorted(events, key=lambda event: event.position))


def _followed(stored: StoredLog, events: Sequence[Stored | Finding]) -> list[Stored]:
    version, position, previous = 0, 0, None
    right: list[Stored] = []
    for event in events:
        if isinstance(event, Finding):
            raise _Broken(event.position, event.stream, event.what)
        if event.version != version + 1:
            raise _broken(event, f"I9: version {event.version} follows {version}")
        if event.position <= position:
            raise _broken(event, f"I9: version {event.version} stands in front of version {version}")
        try:
            digest = stored.digest(previous, event)
        except ValueError:
            raise _broken(event, "its at is no time") from None
        if event.hash != digest:
            raise _broken(event, "its hash is not the one of its row and the event before it in its stream")
        version, position, previous = event.version, event.position, event.hash
        right.append(event)
    return right


def _read(stored: StoredLog, event: Stored) -> Recorded:
    """The event. Raises _Broken where this version can't read it."""
    try:
        return stored.recorded(event)
    except ValueError as error:
        raise _broken(event, str(error)) from None


def _checked(check: StreamCheck, recorded: Recorded) -> Recorded:
    """The event. Raises _Broken where it breaks an invariant of its stream."""
    for violation in check.check(recorded):
        raise _Broken(recorded.position, recorded.stream, f"{violation.invariant}: {violation.what}")
    return recorded


def verify_circuit(stored: StoredLog, events: Sequence[Stored | Finding], found: Found) -> None:
    """Read the stream of one circuit, and add it to what was found."""
    found.events += len(events)
    check = StreamCheck()
    try:
        for event in followed(stored, events):
            _checked(check, _read(stored, event))
    except _Broken as broken:
        found.wrong(Of.LOG, broken.finding)


def verify_email(stored: StoredLog, email: EmailRows, forms: Forms, found: Found) -> None:
    """Compare all that is stored of one email, and add it to what was found."""
    found.emails += 1
    found.events += len(email.history)
    try:
        history = followed(stored, email.history)
        events = [_event(stored, one) for one in history]
        rows = _rows(stored, email.email_id, history)
    except _Broken as broken:
        found.wrong(Of.LOG, broken.finding)
        return
    position = history[-1].position if history else 0
    stream = email_stream(email.email_id)
    for view, there in email.rows.items():
        what = rows_problem(stored.columns[view], rows.get(view, ()), there)
        if what is not None:
            found.wrong(Of.EMAILS, Finding(position, stream, f"{view}: {what}"))
            return
    row = stored.content(email.email_id) if email.apart else email.content
    if row is None:
        return
    requested = events[0] if events else None
    if not isinstance(requested, Requested):
        found.wrong(Of.EMAILS, Finding(0, stream, "contents: a content that nobody requested"))
        return
    what = content_problem(requested, email.email_id, row, forms)
    if what is not None:
        found.wrong(Of.EMAILS, Finding(history[0].position, stream, f"contents: {what}"))
    elif row.stored is not None and row.stored.marks is not None:
        found.proven += 1
    else:
        found.unproven += 1


def _rows(stored: StoredLog, email_id: str, history: Sequence[Stored]) -> Mapping[str, Sequence[Row]]:
    """What the views have to say of an email, whose story holds."""
    if not history:
        return {}
    rows = stored.rows_at_sight(email_id, history)
    if rows is not None:
        return rows
    view: EmailView = view_of(email_id)
    check = StreamCheck()
    for event in history:
        recorded = _checked(check, _read(stored, event))
        try:
            view = project(view, recorded)
        except Exception as error:
            # It breaks no invariant that is known, and still the fold.
            what = f"it can't follow what was before it ({type(error).__name__})"
            raise _broken(event, what) from error
    return stored.email_rows(view)


def _event(stored: StoredLog, event: Stored) -> Event:
    try:
        return stored.event(event)
    except ValueError as error:
        raise _broken(event, str(error)) from None


def rows_problem(
    columns: Sequence[str], expected: Sequence[Sequence[object]], found: Sequence[Sequence[object]]
) -> str | None:
    """How the rows of a view differ from those that the events give; None: not at all. Says no values."""
    if expected == found:
        return None
    if len(found) < len(expected):
        return "a row is missing"
    if len(found) > len(expected):
        return "there is a row that no event gives"
    for wanted, row in zip(expected, found, strict=True):
        if tuple(wanted) != tuple(row):
            return "a row differs from its events in " + ", ".join(_differing(columns, wanted, row))
    return None


def _differing(columns: Sequence[str], wanted: Sequence[object], row: Sequence[object]) -> Iterator[str]:
    for name, one, other in zip(columns, wanted, row, strict=True):
        if one != other:
            yield name


def _broken(event: Stored, what: str) -> _Broken:
    return _Broken(event.position, event.stream, what)
