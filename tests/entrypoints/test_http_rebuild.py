"""Views made anew over HTTP: begun, watched, and refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from adapters.virtual import inline
from application.logbook import Logbook
from application.replay import Mended, Parts, Rebuilds, Told
from entrypoints.http.options import HttpOptions
from entrypoints.service import Service
from tests.entrypoints.http_api import SHOP, Log, problem_in, running


class Folds:
    """`Folds` that are done at once."""

    def mend_emails(self, told: Told) -> Mended:
        told(3, 4)
        return Mended(4, 1, 2)

    mend_gates = mend_emails


def with_rebuilds(service: Service) -> Service:
    """The service, able to make views anew."""
    parts = Parts(
        folds=cast(Any, Folds()),
        log=service.store,
        reports=cast(Any, None),
        executor=inline,
        clock=service.clock,
        holder="api",
    )
    return replace(service, rebuilds=Rebuilds(parts, Logbook(Log())))


async def test_a_rebuild_is_begun_and_watched() -> None:
    """202, and how it goes; the same shape from beginning to end."""
    async with running(change=with_rebuilds) as api:
        begun = await api.client.post("/rebuild/gates")
        assert api.service.rebuilds is not None
        await api.service.rebuilds.ended()
        ended = await api.client.get("/rebuild")

    assert 202 == begun.status_code
    assert {
        "view": "gates",
        "state": "running",
        "now": None,
        "done": 0,
        "whole": 0,
        "rebuilt": [],
        "failed": None,
    } == begun.json()
    assert (
        begun.json()
        | {
            "state": "done",
            "rebuilt": [{"view": "gates", "events": 4, "rows": 1, "removed": 2}],
        }
        == ended.json()
    )


async def test_what_fails_is_told() -> None:
    """With what was done before it."""
    async with running(change=with_rebuilds) as api:
        await api.client.post("/rebuild/all")
        assert api.service.rebuilds is not None
        await api.service.rebuilds.ended()
        ended = (await api.client.get("/rebuild")).json()

    assert ("failed", ["emails", "gates"]) == (ended["state"], [one["view"] for one in ended["rebuilt"]])
    assert ended["failed"]


async def test_what_cannot_be_begun_is_refused() -> None:
    """A view that isn't there; a second rebuild beside the first."""
    async with running(change=with_rebuilds) as api:
        unknown = problem_in(await api.client.post("/rebuild/gate"))
        none_yet = problem_in(await api.client.get("/rebuild"))
        assert api.service.rebuilds is not None
        api.service.rebuilds.start("gates")
        busy = problem_in(await api.client.post("/rebuild/emails"))

    assert (404, "unknown_view") == (unknown["status"], unknown["code"])
    assert 'did you mean "gates"?' in unknown["detail"]
    assert 404 == none_yet["status"]
    assert (409, "busy") == (busy["status"], busy["code"])


async def test_it_takes_the_admin_token() -> None:
    """Whoever may only send may not."""
    options = HttpOptions(default_from=SHOP, version="1", admin_token="a", send_token="s")
    async with running(options, change=with_rebuilds) as api:
        answers = [
            (await api.client.request(method, path, headers={"Authorization": f"Bearer {token}"})).status_code
            for token in "sa"
            for method, path in (("POST", "/rebuild/gates"), ("GET", "/rebuild"))
        ]

    assert [403, 403, 202, 200] == answers
