"""What operators do, seen from the queue: paused providers, cancelled and reopened emails, limits of the queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.providers.scripted import ScriptedProvider, parse_script
from adapters.virtual import VirtualClock, run_virtually
from application.accept import QueueFull
from application.operate import UnknownProvider
from domain.email.state import End
from domain.errors import AttemptIsOpen, KeyErased, KeyMisused, NothingToRetry, NotRequested
from tests.application.world import World, settings


def scripted(clock: VirtualClock, *script: str) -> ScriptedProvider:
    return ScriptedProvider(name="one", script=parse_script(script or ["accept"]), sleep=clock.sleep)


def test_a_paused_provider_starts_nothing_until_it_is_resumed() -> None:
    """Emails wait for it, without an attempt being spent."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {"one": scripted(clock)})
        await world.worker()
        await world.operator.pause("one", "ops")
        receipt = await world.send()
        await clock.sleep(600)
        before = world.names(receipt.email_id)
        await world.operator.resume("one", "ops")
        await world.ended(receipt.email_id)

        assert ["Requested"] == before
        assert ["Requested", "AttemptStarted", "Sent"] == world.names(receipt.email_id)

    run_virtually(main)


def test_a_reset_circuit_is_used_at_once() -> None:
    """The operator knows that the provider is back, and nobody waits for the open time to end."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted(clock, "account", "accept")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        receipt = await world.send()
        await world.until(lambda: "AttemptFailed" in world.names(receipt.email_id))
        await clock.sleep(5)
        opened = clock.now()
        await world.operator.reset("one", "ops")
        await world.ended(receipt.email_id)

        assert (clock.now() - opened).total_seconds() < 1

    run_virtually(main)


def test_a_provider_that_is_not_configured_is_refused() -> None:
    """A mistyped name does not make a gate."""

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(UnknownProvider):
            await World(clock, settings("one"), {}).operator.pause("two", "ops")

    run_virtually(main)


def test_a_cancelled_email_is_not_sent() -> None:
    """Before an attempt it can be called off; twice is once; while one is open it can't."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted(clock, "accept 5s")
        world = World(clock, settings("one"), {"one": provider})
        off = await world.send("off")
        await world.operator.cancel(off.id, "ann")
        await world.operator.cancel(off.email_id, "ann")
        on = await world.send("on")
        await world.worker()
        await world.until(lambda: "AttemptStarted" in world.names(on.email_id))
        with pytest.raises(AttemptIsOpen):
            await world.operator.cancel("on", "ann")
        await world.ended(on.email_id)

        assert ["Requested", "Cancelled"] == world.names(off.email_id)
        assert 0 == provider.copies(off.email_id, 0)

    run_virtually(main)


def test_a_failed_email_can_be_reopened_while_its_content_is_kept() -> None:
    """Expired, reopened, sent; once the content is erased there is nothing left to send."""

    async def main(clock: VirtualClock) -> None:
        provider = scripted(clock, "transient")
        world = World(clock, settings("one"), {"one": provider})
        await world.worker()
        soon = timedelta(minutes=5)
        receipts = [await world.send(key, expires_after=soon) for key in ("again", "erased")]
        for one in receipts:
            assert End.FAILED is (await world.ended(one.email_id)).email.end
        provider.follow(parse_script(["accept"]))
        world.store.erase(receipts[1].email_id)
        with pytest.raises(KeyErased):
            await world.operator.retry("erased", "ops")
        await world.operator.retry("again", "ops")
        await world.until(lambda: world.view(receipts[0].email_id).email.end is End.SENT)
        with pytest.raises(NothingToRetry):
            await world.operator.retry("again", "ops")
        with pytest.raises(NotRequested):
            await world.operator.retry("nobody", "ops")

    run_virtually(main)


def test_a_key_is_for_one_email() -> None:
    """The same request again is answered again; another one is refused; an erased one can't be told."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one"), {})
        first = await world.send("k", given=b"this")
        again = await world.send("k", given=b"this")
        with pytest.raises(KeyMisused):
            await world.send("k", given=b"that")
        world.store.erase(first.email_id)
        with pytest.raises(KeyErased):
            await world.send("k", given=b"this")

        assert (first.id, first.email_id, first.status) == (again.id, again.email_id, again.status)
        assert (False, True) == (first.replayed, again.replayed)

    run_virtually(main)


def test_a_full_queue_takes_nothing_until_there_is_room() -> None:
    """`queue_max` counts what has not ended."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, settings("one", queue_max=3), {"one": scripted(clock)})
        for n in range(3):
            await world.send(f"k{n}")
        with pytest.raises(QueueFull):
            await world.send("one too many")
        with pytest.raises(QueueFull):
            await world.send(None)
        again = await world.send("k1")
        assert again.replayed  # it is one of those that wait
        await world.worker()
        await clock.sleep(5)
        await world.acceptor.count_waiting()
        await world.send("now")

    run_virtually(main)
