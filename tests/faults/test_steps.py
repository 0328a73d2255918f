"""`kill -9` of everything at each named step of an email's way: what is there afterwards is known beforehand."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.sql.migrate import migrate
from domain.email.events import DuplicateRiskAccepted
from tests.faults.audit import copies_at, log_of, look
from tests.faults.cluster import Cluster, cluster, settled
from tests.faults.load import Load, email
from tests.faults.proxy import Fate, PostgresProxy, always
from tests.faults.steady import until
from tests.faults.traps import Trap, held_fast
from tests.support.smtp_script import At, Do, hang, take_and_hang
from tests.support.smtp_server import ScriptedSmtpServer

SOON_S = 1.5
"""When an email is due that must not be claimed before."""

LOCKING_S = 0.5
"""Long enough for whoever has something to record to come to the lock."""

ENDED = ("sent", "failed", "held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a step is set in. `database`: past any proxy; `proxy`: on PostgreSQL."""

    running: Cluster
    sink: ScriptedSmtpServer
    database: str
    proxy: PostgresProxy | None


Wait = Callable[[], None]
Catch = Callable[[Scene, str], AbstractContextManager[Wait]]
"""Lays a trap for the email of this key; what it gives blocks until somebody is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where the kill hits, and what the email comes to: copies at the provider, risks declared, status.

    `due_in_s`: it is scheduled; `after_acceptance`: the trap is laid once it is acknowledged; `replayed`: whether
    the client, asking again, gets the first answer, where that is known.
    """

    name: str
    catch: Catch
    policy: str = "retry"
    copies: int = 1
    risks: int = 0
    end: str = "sent"
    due_in_s: float = 0.0
    after_acceptance: bool = False
    replayed: bool | None = None


def dialogue(at: At, do: Do | None = None) -> Catch:
    """While the provider is at this point."""

    @contextmanager
    def caught(scene: Scene, key: str) -> Iterator[Wait]:
        if at in (At.GREETING, At.EHLO):  # a connection from before is past these
            scene.sink.stop()
            scene.sink.start()
        scene.sink.script = trap = Trap(at, key, do or hang())
        try:
            yield trap.wait
        finally:
            scene.sink.script = {}

    return caught


def recording(wait_s: float) -> Catch:
    """While nothing can be committed; `wait_s` until somebody must have come to try."""

    @contextmanager
    def caught(scene: Scene, key: str) -> Iterator[Wait]:
        with held_fast(scene.database):
            yield lambda: time.sleep(wait_s)

    return caught


@contextmanager
def answered(scene: Scene, key: str) -> Iterator[Wait]:
    """The provider has accepted it and says so, and that can't be recorded."""
    with ExitStack() as held:

        def first() -> None:
            held.enter_context(held_fast(scene.database))

        scene.sink.script = trap = Trap(At.DOT, key, Do(), first)

        def wait() -> None:
            trap.wait()
            time.sleep(LOCKING_S)

        yield wait
    scene.sink.script = {}


def seen(status: str) -> Catch:
    """As soon as it can be read that the email has this status, whoever has heard of it."""

    @contextmanager
    def caught(scene: Scene, key: str) -> Iterator[Wait]:
        yield lambda: until(lambda: status_of(scene.database, key) == status)

    return caught


def commit(event: str, fate: Fate) -> Catch:
    """PostgreSQL: the COMMIT that records this event is on its way, or its answer is."""

    @contextmanager
    def caught(scene: Scene, key: str) -> Iterator[Wait]:
        assert scene.proxy is not None
        proxy, word = scene.proxy, event.encode()
        proxy.reached.clear()
        proxy.rule = lambda transaction: fate if word in transaction else Fate.PASS
        try:
            yield lambda: until(proxy.reached.is_set)
        finally:
            proxy.rule = always

    return caught


STEPS = (
    Step(name="accept, not committed", catch=recording(LOCKING_S), replayed=False),
    Step(name="accepted, perhaps unanswered", catch=seen("scheduled"), due_in_s=SOON_S),
    Step(
        name="claim, not committed",
        catch=recording(SOON_S + LOCKING_S),
        due_in_s=SOON_S,
        after_acceptance=True,
    ),
    Step(name="started, not greeted", catch=dialogue(At.GREETING), risks=1),
    Step(name="at EHLO", catch=dialogue(At.EHLO), risks=1),
    Step(name="at MAIL", catch=dialogue(At.MAIL), risks=1),
    Step(name="at RCPT", catch=dialogue(At.RCPT), risks=1),
    Step(name="at DATA", catch=dialogue(At.DATA), risks=1),
    Step(name="in the body", catch=dialogue(At.BODY), risks=1),
    Step(name="after the dot", catch=dialogue(At.DOT, take_and_hang()), copies=2, risks=1),
    Step(name="after the dot, hold", catch=dialogue(At.DOT, take_and_hang()), policy="hold", end="held"),
    Step(name="after the dot, fail", catch=dialogue(At.DOT, take_and_hang()), policy="fail", end="failed"),
    Step(name="answered, not recorded", catch=answered, copies=2, risks=1),
    Step(name="answered, not recorded, hold", catch=answered, policy="hold", end="held"),
    Step(name="recorded", catch=seen("sent")),
)
COMMITS = (
    Step(name="COMMIT of Requested sent", catch=commit("Requested", Fate.HOLD_BEFORE), replayed=False),
    Step(
        name="COMMIT of Requested unanswered",
        catch=commit("Requested", Fate.HOLD_AFTER),
        due_in_s=SOON_S,
        replayed=True,
    ),
    Step(name="COMMIT of AttemptStarted sent", catch=commit("AttemptStarted", Fate.HOLD_BEFORE)),
    Step(
        name="COMMIT of AttemptStarted unanswered", catch=commit("AttemptStarted", Fate.HOLD_AFTER), risks=1
    ),
    Step(name="COMMIT of Sent sent", catch=commit("Sent", Fate.HOLD_BEFORE), copies=2, risks=1),
    Step(name="COMMIT of Sent unanswered", catch=commit("Sent", Fate.HOLD_AFTER)),
)


def status_of(database: str, key: str) -> str:
    """As the view has it; empty: there is no such email."""
    rows = look(database, f"SELECT status FROM emails WHERE client_id = '{key}'")
    return rows[0][0] if rows else ""


def killed_at(scene: Scene, step: Step, key: str, load: Load) -> None:
    """Send the email, kill everything at this step, start anew, and wait for the email's end."""
    due = datetime.now(UTC) + timedelta(seconds=step.due_in_s)
    asked = email(key, 1) | {"on_uncertain": step.policy}
    if step.due_in_s:
        asked["send_at"] = due.isoformat()
    client = threading.Thread(target=load.deliver, args=(key, asked), daemon=True)
    if step.after_acceptance:
        client.start()
        client.join()
    replayed = load.told.answers["202 replayed"]
    with step.catch(scene, key) as wait:
        if not client.ident:
            client.start()
        wait()
        scene.running.kill()
    scene.running.start()
    client.join(30)
    until(lambda: status_of(scene.database, key) in ENDED)

    assert step.replayed in (None, load.told.answers["202 replayed"] > replayed), step.name


def all_steps(scene: Scene, steps: Sequence[Step]) -> None:
    """One after the other; then what each email has come to, and what holds of all."""
    with Load(scene.running.url, clients=0) as load:
        for number, step in enumerate(steps):
            killed_at(scene, step, f"step-{number}", load)
        copies = copies_at(scene.sink)
        ended = {f"step-{n}": status_of(scene.database, f"step-{n}") for n in range(len(steps))}
        told = load.end()
        counted = settled(scene.running, told, scene.sink)
    risks = Counter(
        one.stream for one in log_of(scene.database) if isinstance(one.event, DuplicateRiskAccepted)
    )
    for number, step in enumerate(steps):
        key = f"step-{number}"
        email_id = told.emails[key]
        came_to = (ended[key], copies[email_id, f"{key}@example.org"])
        by_policy = risks[f"email-{email_id}"] - (ended[key] == "held")
        print(f"killed: {step.name}: {came_to[0]}, copies {came_to[1]}, risks declared {by_policy}")

        assert (step.end, step.copies) == came_to, step.name
        assert step.risks == by_policy, step.name
    print(f"{len(steps)} kills: {told}; {counted}")


def test_killed_at_each_step(tmp_path: Path, database: str, sink: ScriptedSmtpServer) -> None:
    """A copy more than one only where a provider had taken it, and declared; nothing where nobody took the risk."""
    sink.script = {}
    with cluster(tmp_path, database, sink, lease="1s") as running:
        all_steps(Scene(running=running, sink=sink, database=database, proxy=None), STEPS)


def test_killed_around_a_commit(tmp_path: Path, postgres_url: str, sink: ScriptedSmtpServer) -> None:
    """What PostgreSQL has got counts, and what it hasn't doesn't, whoever was told of it."""
    sink.script = {}
    migrate(postgres_url)
    with (
        PostgresProxy.in_thread(postgres_url) as proxy,
        cluster(tmp_path, proxy.url, sink, lease="1s") as running,
    ):
        all_steps(Scene(running=running, sink=sink, database=postgres_url, proxy=proxy), COMMITS)
