"""Makes docs/events.md from the event classes, the golden files and what stands here: `python -m docs.events`.

What an event says is its class's docstring; what a field means stands below, once for all events that share it.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

from adapters.codec import TYPES, schema_of
from adapters.sql.tables import events as table
from domain.circuit import CircuitEvent
from domain.email.events import FailReason, Feedback, HoldReason, SwitchReason
from domain.failures import FailureKind, Refusal
from domain.routing import Blocked, OnUncertain, PassedOver, Priority

FILE = Path(__file__).with_name("events.md")
GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "events"
WORDS: tuple[type[Enum], ...] = (
    FailureKind,
    FailReason,
    HoldReason,
    SwitchReason,
    OnUncertain,
    Blocked,
    Priority,
)

COLUMNS = {
    "position": "Its place in the whole log, rising. On PostgreSQL there may be gaps, and a lower one may be"
    " committed after a higher one.",
    "event_id": "A UUIDv7.",
    "stream": "What it happened to: `email-<email_id>` or `circuit-<provider>`.",
    "version": "Its place in its stream: 1, 2, 3, without a gap.",
    "type": "What happened: one of the names below. A name never changes.",
    "at": "When, UTC, to the microsecond. On SQLite text like `2026-11-24T03:52:59.000000Z`, which sorts as time does.",
    "meta": "JSON: `schema` (of this type's data, from 1), `correlation_id` (that of the request, else the"
    " email's id), `causation_id` (the `event_id` that led to it). Both may be empty.",
    "data": "JSON: the fields below, all of them in every event of the type and schema.",
    "hash": "32 octets, over the hash of the event before it in the stream (32 zeros before the first) and all of"
    " the row but `position`.",
}
FIELDS = {
    "accepted": "recipients that the provider took responsibility for",
    "attempt": "the number of the attempt in its email, from 1",
    "attempts": "the attempts that may have been accepted",
    "by": "who did it: `operator`, for whoever has the admin token or the database",
    "calls": "calls that the circuit counted (in its window, or its probes), this one included",
    "code": "what the provider answered, like `550 5.1.1`, or a word of ours, like `read timeout`; may be empty",
    "deadline": "the provider has to be called by then",
    "deferred": "recipients that were put off: they are tried again",
    "detail": "its words, scrubbed of addresses and shortened; may be empty",
    "digest": "of what the client asked for: SHA-256 of a salt, which lies with the content, and the request",
    "due_at": "from when on it may be tried",
    "epoch": "how often the provider's circuit had opened; only results of the present epoch move it",
    "expires_at": "it has failed if not everyone is reached by then",
    "failures": "those of `calls` that failed",
    "from_provider": "the provider of the attempt before, or the route's first",
    "key": "the client's id; one with an `@` as `sha256:` and a salted digest",
    "key_until": "so long the provider answers a repeat of `provider_key` from the first; null: it honours none",
    "kind": "why, and what follows from it",
    "message_id": "the provider's own id for the message; may be empty",
    "n": "the number of the probe in its epoch, from 1",
    "observed_at": "when the provider says that it happened",
    "on_uncertain": "what to do once nothing more can be learnt about an attempt that may have been accepted",
    "passed_over": "providers that stood earlier in the route and were not taken, and why",
    "pending": "recipients that were not reached, or are not known to be",
    "permanent": "`true`: for good",
    "priority": "which goes first",
    "probe": "the number of the probe that a half-open circuit granted; null: it was closed",
    "provider": "its name in the configuration",
    "provider_key": "the idempotency key of email, provider and recipients; it goes with the message",
    "reason": "why",
    "recipient": "an index into the envelope",
    "recipient_domains": "the domain of each recipient, in the order of the envelope",
    "recipients": "indexes into the envelope: To, then Cc, then Bcc, from 0",
    "refused": "recipients that were refused for good",
    "requested_at": "when it was accepted",
    "resolve_by": "until then evidence is waited for",
    "retry_at": "when it may be tried again",
    "route": "the route it takes",
    "send_at": "not before then",
    "sender_domain": "the domain of its sender",
    "size": "octets of the content",
    "spent": "whether the provider is passed over until the next cycle",
    "tags": "the client's tags",
    "tenant": "whose email it is; empty where there is one tenant only",
    "to_provider": "the provider of the next attempt",
    "token": "the fencing token of the worker's lease: a later lease has a higher one",
    "until": "when probes may begin",
    "why": "which policy or flag allowed it",
    "worker": "the name of the process",
}
SPECIAL = {
    ("Requested", "recipients"): "how many recipients there are",
    ("Requested", "send_at"): "not before then; null: at once",
    ("Sent", "attempt"): "its number; null: later evidence settled the last recipient",
    ("Sent", "provider"): "its name in the configuration; null as `attempt`",
    ("AttemptFailed", "retry_at"): "when it may be tried again; null: nobody is left to try for",
    (
        "AttemptFailed",
        "not_before",
    ): "the provider asked for a pause: no attempt there before then; else null",
    ("AttemptFailed", "reset_at"): "when its quota is said to come back; null: that isn't known",
    ("OutcomeUncertain", "retry_at"): "when the same key may be tried again; null: the provider honours none",
    ("DuplicateRiskAccepted", "by"): "`policy`, or who did it",
    ("LateResultObserved", "kind"): "why it was not accepted; null: it was",
    ("CircuitOpened", "reason"): "`failure_rate`, `consecutive`, `probe_failed`, `account` or `quota`",
    ("CircuitClosed", "by"): "who closed it; empty: its probes did",
}
PARTS = {
    Refusal: "list of `{index, kind, code}`, kind as in [FailureKind](#failurekind)",
    PassedOver: "list of `{provider, reason}`, reason as in [Blocked](#blocked)",
}
HEAD = """\
# Events

<!-- Made by `make docs` from the classes in domain/. A test compares; don't edit it here. -->

Everything that happens to an email or to a provider's circuit is a row of `events`, written once and never changed:
triggers refuse UPDATE, DELETE and TRUNCATE. This page is for whoever reads that table with SQL. It is an interface:
names and meanings stay, fields are added with a new `schema` only.

No event holds an address, a subject, a body or a secret. Recipients are indexes into the email's envelope (To, then
Cc, then Bcc, each mailbox once, from 0), which lies in the content store and is erased some time after the email's
end; events stay.

## The table
"""
SQL = """
`data` is JSON in a text column. Two questions of many, on PostgreSQL:

```sql
-- What each provider answered in the last hour
SELECT data::json->>'provider' AS provider, type, data::json->>'kind' AS kind, count(*)
FROM events
WHERE type IN ('Sent', 'PartlySent', 'AttemptFailed', 'OutcomeUncertain') AND at > now() - interval '1 hour'
GROUP BY 1, 2, 3 ORDER BY 4 DESC;

-- What happened to one email (every answer about it names its email_id)
SELECT version, at, type, data FROM events
WHERE stream = 'email-1d0e93b7-43a5-8e0f-9a0c-8f1b5f2f7f10' ORDER BY version;
```

and on SQLite:

```sql
SELECT json_extract(data, '$.provider') AS provider, type, json_extract(data, '$.kind') AS kind, count(*)
FROM events
WHERE type IN ('Sent', 'PartlySent', 'AttemptFailed', 'OutcomeUncertain')
    AND at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')
GROUP BY 1, 2, 3 ORDER BY 4 DESC;

SELECT version, at, type, data FROM events
WHERE stream = 'email-1d0e93b7-43a5-8e0f-9a0c-8f1b5f2f7f10' ORDER BY version;
```

There is an index on (stream, version) and on `position`, none on `type` or `at`: the first question reads the whole
table. `emails`, `attempts` and the views `report_*` answer most questions at less cost. Open a SQLite file that is in
use with `sqlite3 -readonly`.

Whoever follows the log by `position` on PostgreSQL must not step over a gap that may still be filled; `GET /events`
and `stagepost tail -f` take care of that.
"""
EMAILS = """
## Emails

In the stream `email-<email_id>`. The first is `Requested`. An email ends with `Sent`, `Failed` or `Cancelled`, and
`Redriven` opens it again; behind an end come only feedback, late results and `Redriven`. Every `AttemptStarted` is
followed by one of `Sent`, `PartlySent`, `AttemptFailed`, `OutcomeUncertain` with its number.
"""
FEEDBACK = """
## Feedback

Also in the stream of the email: what a provider tells later about one recipient. The types exist so that everybody
can read them; this version records none of them yet.
"""
CIRCUITS = """
## Circuits

In the stream `circuit-<provider>`: what takes a provider out of use, and puts it back.
"""
WORDS_HEAD = """
## Words

Fields with one of a few words hold one of these. Words may be added.
"""


def page() -> str:
    """The whole of docs/events.md."""
    emails = [one for one in TYPES if TYPES[one] not in (*get_args(Feedback), *get_args(CircuitEvent))]
    feedback = [one for one in TYPES if TYPES[one] in get_args(Feedback)]
    circuits = [one for one in TYPES if TYPES[one] in get_args(CircuitEvent)]
    parts = [HEAD, _columns(), SQL]
    for head, names in ((EMAILS, emails), (FEEDBACK, feedback), (CIRCUITS, circuits)):
        parts += [head, *(_event(name) for name in names)]
    parts += [WORDS_HEAD, *map(_words, WORDS)]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _columns() -> str:
    rows = [f"| `{column.name}` | {COLUMNS[column.name]} |" for column in table.columns]
    return "\n".join(["| column | what it is |", "|---|---|", *rows])


def _event(name: str) -> str:
    cls = TYPES[name]
    rows = [
        f"| `{field.name}` | {kind_of(get_type_hints(cls)[field.name])} | {meaning(name, field.name)} |"
        for field in fields(cls)
    ]
    schema = schema_of(name)
    text = (GOLDEN / f"{name}.{schema}.json").read_text(encoding="utf-8")
    values = json.loads(text)["data"].items()
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values]
    return "\n".join(
        [
            f"### {name}",
            "",
            f"{_prose(cls)} (Schema {schema}.)",
            "",
            "| field | type | what it is |",
            "|---|---|---|",
            *rows,
            "",
            "```json",
            "{",
            ",\n".join(lines),
            "}",
            "```",
        ]
    )


def meaning(event: str, field: str) -> str:
    """What a field of an event means. Raises KeyError where that isn't written anywhere."""
    return SPECIAL.get((event, field)) or FIELDS[field]


def kind_of(hint: object) -> str:
    """The type of a field as a reader of JSON sees it."""
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (one for one in get_args(hint) if one is not NoneType)
        return f"{kind_of(inner)} or null"
    if get_origin(hint) is tuple:
        (inner,) = (one for one in get_args(hint) if one is not Ellipsis)
        return PARTS.get(inner) or f"list of {kind_of(inner)}s"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {str: "text", int: "integer", bool: "boolean", datetime: "time"}[hint]  # type: ignore[index]


def _words(enum: type[Enum]) -> str:
    meanings = dict(_said_of(enum))
    form = "number" if issubclass(enum, IntEnum) else "word"
    rows = [f"| `{one.value}` | {meanings[one.name]} |" for one in enum]
    return "\n".join(
        [f"### {enum.__name__}", "", _prose(enum), "", f"| {form} | what it says |", "|---|---|", *rows]
    )


def _prose(cls: type) -> str:
    """The docstring as one paragraph."""
    return " ".join(inspect.getdoc(cls).split())  # type: ignore[union-attr]


def _said_of(enum: type[Enum]) -> Iterator[tuple[str, str]]:
    """Each member, and the text that stands below it in the source."""
    (made,) = (one for one in _classes(inspect.getsourcefile(enum) or "") if one.name == enum.__name__)
    for member, below in zip(made.body, made.body[1:], strict=False):
        match member, below:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


@cache
def _classes(file: str) -> list[ast.ClassDef]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return [one for one in tree.body if isinstance(one, ast.ClassDef)]


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    print(f"{FILE}: {len(TYPES)} events", file=sys.stderr)
