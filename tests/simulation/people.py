"""Clients, who ask until they are answered; operators; and what providers tell later."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from application.accept import Receipt, SendRequest
from application.committer import Overloaded
from application.decisions import Decisions
from application.operate import Operator, UnknownProvider
from application.ports import Decision, Locked, Plan, StoreUnavailable
from application.retention import EndedContents
from domain.content import Address, Content
from domain.email.commands import RecordFeedback
from domain.email.events import Delivered
from domain.errors import KeyErased, KeyMisused, Refused
from tests.simulation.node import Node
from tests.simulation.plan import BODY, SUBJECT, Act, Deed, Mail
from tests.simulation.provider import Copy

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

PATIENCE_S = 30.0
"""After so long without an answer a client asks again."""

TRIES_MAX = 1000
"""Longer than every process can be away."""

ERASE_EVERY_S = 7.0
"""Odd, so that it falls between other things."""

DOMAIN = "recipients.example.org"


def given_of(mail: Mail) -> bytes:
    """What the client asks for, as far as a digest is concerned."""
    return f"given {mail.key}".encode()


def request_of(mail: Mail, given: bytes, world: World) -> SendRequest:
    """The request for a planned email."""
    to = tuple(Address(address=f"somebody-{mail.key[:3]}-{n}@{DOMAIN}") for n in range(mail.recipients))
    send_at = None if mail.send_in_s is None else world.clock.now() + timedelta(seconds=mail.send_in_s)
    return SendRequest(
        key=mail.key,
        content=Content(sender=Address(address="shop@example.com"), to=to, subject=SUBJECT, text=BODY),
        given=given,
        size=100,
        tags=("urgent",) if mail.urgent else (),
        send_at=send_at,
        expires_after=timedelta(seconds=mail.expires_s),
        on_uncertain=mail.policy,
    )


async def served(world: World, name: str, work: Any) -> Any:
    """Have some process do it, and another one where that doesn't answer; gives its answer, or raises its refusal."""
    rng = world.rng("client", name)
    for _ in range(TRIES_MAX):
        ready = [node for node in world.nodes.values() if node.ready]
        if ready:
            node = rng.choice(ready)
            task = node.spawn(work(node))
            task.add_done_callback(_heard)
            await asyncio.wait((task,), timeout=PATIENCE_S)
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, StoreUnavailable | Overloaded):
                    raise error
        await asyncio.sleep(rng.uniform(0.1, 2.0))
    raise AssertionError(f"{name}: nobody answers")


def _heard(task: asyncio.Task[Any]) -> None:
    """Whoever asked may be gone by now."""
    if not task.cancelled():
        task.exception()


class Client:
    """Somebody who wants an email sent."""

    def __init__(self, world: World, mail: Mail, given: bytes) -> None:
        self._world = world
        self._mail = mail
        self._given = given

    async def send(self, at_s: float | None = None) -> None:
        """Ask until it is accepted, or refused for good."""
        world, mail = self._world, self._mail
        await asyncio.sleep(max(0.0, (mail.at_s if at_s is None else at_s) - world.loop.time()))
        request = request_of(mail, self._given, world)
        try:
            receipt: Receipt = await served(
                world, f"{mail.key}/{self._given!r}/{at_s}", lambda node: node.acceptor.accept(request)
            )
        except (KeyMisused, KeyErased):
            return
        world.evidence.receipts.append((mail, self._given, receipt))


class People:
    """Those who act on what is there already."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether somebody is still about something."""
        return bool(self._under_way)

    def begin(self, act: Act) -> None:
        """Somebody does something."""
        self._keep(self._act(act))

    def took(self, copy: Copy) -> None:
        """A provider has taken something, and will tell of it, perhaps twice."""
        for recipient in copy.accepted:
            rng = self._world.rng("feedback", copy.provider, copy.email_id, copy.attempt, recipient)
            if rng.random() < 0.7:
                for _ in range(rng.choice((1, 1, 2))):
                    self._keep(self._tell(copy, recipient, rng.choice((0.0, 1.0, 10.0, 60.0))))

    def calm_down(self) -> None:
        """What was paused is resumed, mostly."""
        for name in self._world.providers:
            if self._world.rng("resumed", name).random() < 0.8:
                self._keep(
                    self._operate(f"calm/{name}", lambda node, name=name: node.operator.resume(name, "op"))
                )

    async def erase(self, ended: EndedContents, kept_for: timedelta) -> None:
        """Retention, for ever."""
        while True:
            await asyncio.sleep(ERASE_EVERY_S)
            await self._operate(
                "erase", lambda node: node.execute(lambda: ended.sweep(kept_for, holder="one"))
            )

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._world.loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.bugs.append(f"people: {type(error).__name__}: {error}")

    async def _operate(self, name: str, work: Any) -> None:
        with suppress(Refused, UnknownProvider):
            await served(self._world, name, work)

    async def _act(self, act: Act) -> None:
        world, target = self._world, act.target
        for mail in world.plan.mails:
            if mail.key == target:
                await self._act_on_email(act, mail)
        if target in world.providers:
            acts = {Deed.PAUSE: Operator.pause, Deed.RESUME: Operator.resume, Deed.RESET: Operator.reset}
            await self._operate(_name(act), lambda node: acts[act.deed](node.operator, target, "op"))

    async def _act_on_email(self, act: Act, mail: Mail) -> None:
        world, name = self._world, _name(act)
        match act.deed:
            case Deed.AGAIN:
                await Client(world, mail, given_of(mail)).send(act.at_s)
            case Deed.MISUSE:
                await Client(world, replace(mail, recipients=1), b"another").send(act.at_s)
            case Deed.CANCEL:
                await self._operate(name, lambda node: node.operator.cancel(mail.key, "op"))
            case Deed.RETRY | Deed.RETRY_AT_RISK:
                risk = act.deed is Deed.RETRY_AT_RISK
                await self._operate(
                    name, lambda node: node.operator.retry(mail.key, "op", accept_duplicate_risk=risk)
                )
            case Deed.RESCHEDULE:
                at = world.clock.now() + timedelta(seconds=act.by_s)
                await self._operate(name, lambda node: node.operator.reschedule(mail.key, "op", at))

    async def _tell(self, copy: Copy, recipient: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        name = f"told/{copy.email_id}/{copy.attempt}/{recipient}"
        await self._operate(name, lambda node: _told(node, copy, recipient))


def _name(act: Act) -> str:
    return f"{act.deed}/{act.target}/{act.at_s}"


async def _told(node: Node, copy: Copy, recipient: int) -> None:
    """A webhook comes in. (There is no use case for it yet: it decides as all of them do.)"""
    world = node.world
    feedback = Delivered(attempt=copy.attempt, recipient=recipient, observed_at=world.clock.now())
    seed = world.ids.chance()

    def decide(locked: Locked) -> Decision:
        decisions = Decisions(locked, node.settings, world.ids, seed)
        decisions.email(copy.email_id, RecordFeedback(feedback=feedback))
        return decisions.decision

    done = await node.execute(lambda: world.store.transact(Plan(emails=(copy.email_id,)), decide))
    node.logbook.recorded(done.recorded)
    node.dispatcher.wake()
