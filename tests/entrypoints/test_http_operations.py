"""Providers, health, and who answers here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from application.ports import StoreUnavailable
from tests.entrypoints.http_api import Api, problem_in, running


async def provider(api: Api, name: str) -> dict[str, Any]:
    """A provider as it is listed."""
    rows = (await api.client.get("/providers")).json()["data"]
    return next(row for row in rows if row["name"] == name)


async def test_providers_are_listed_as_they_stand() -> None:
    """In the order of the configuration, with every field of the contract."""
    async with running() as api:
        answer = await api.client.get("/providers")

        assert {
            "data": [
                {
                    "name": "primary",
                    "type": "scripted",
                    "circuit": "closed",
                    "paused": False,
                    "open_until": None,
                    "not_before": None,
                    "open_attempts": 0,
                    "limits": [{"rate": "600/m", "used": 0, "remaining": 600}],
                },
                {
                    "name": "secondary",
                    "type": "sandbox",
                    "circuit": "closed",
                    "paused": False,
                    "open_until": None,
                    "not_before": None,
                    "open_attempts": 0,
                    "limits": [],
                },
            ]
        } == answer.json()


async def test_a_provider_can_be_paused_and_resumed() -> None:
    """Each answers with the provider as it stands then; doing it again changes nothing."""
    async with running() as api:
        for action, paused in [("pause", True), ("pause", True), ("resume", False), ("resume", False)]:
            answer = await api.client.post(f"/providers/primary/{action}")

            assert (200, paused) == (answer.status_code, answer.json()["paused"])
            assert answer.json() == await provider(api, "primary")
        assert not (await provider(api, "secondary"))["paused"]


async def test_a_provider_can_be_reset() -> None:
    """Its circuit is closed, open or not."""
    async with running() as api:
        answer = await api.client.post("/providers/primary/reset")

        assert (200, "closed") == (answer.status_code, answer.json()["circuit"])


@pytest.mark.parametrize("action", ["pause", "resume", "reset"])
async def test_a_provider_that_is_not_there_is_a_404(action: str) -> None:
    """With where to look."""
    async with running() as api:
        answer = await api.client.post(f"/providers/ses/{action}")

        assert (404, "unknown_provider") == (answer.status_code, problem_in(answer)["code"])


async def test_another_action_is_a_404() -> None:
    """And reading one is a 405."""
    async with running() as api:
        assert 404 == (await api.client.post("/providers/primary/explode")).status_code
        assert 405 == (await api.client.get("/providers/primary/pause")).status_code


# --- health


async def test_alive_is_a_matter_of_answering() -> None:
    """With or without a database."""
    async with running() as api:
        api.store.check = _unavailable  # type: ignore[method-assign]

        assert {"status": "alive"} == (await api.client.get("/healthz")).json()


async def test_ready_when_everything_is_at_work() -> None:
    """What people should see stands beside it."""
    async with running() as api:
        assert {"status": "ready", "alerts": []} == (await api.client.get("/readyz")).json()

        api.service.logbook.alert(api.clock.now(), "circuit_opened", provider="primary")
        [alert] = (await api.client.get("/readyz")).json()["alerts"]
        assert "circuit_opened provider=primary" in alert


async def test_not_ready_says_why_and_when_to_ask_again() -> None:
    """503; a load balancer sends traffic elsewhere."""
    async with running() as api:
        api.store.check = _unavailable  # type: ignore[method-assign]
        api.service.supervisor.dead["dispatcher"] = "RuntimeError"
        answer = await api.client.get("/readyz")

        problem = problem_in(answer)
        assert (503, "not_ready") == (answer.status_code, problem["code"])
        assert "5" == answer.headers["retry-after"]
        assert 2 == len(problem["problems"])
        assert [] == problem["alerts"]


def _unavailable() -> None:
    raise StoreUnavailable("the disk is full")


async def test_the_root_says_who_answers() -> None:
    """For whoever follows the URL that the service greets with."""
    async with running() as api:
        assert {"service": "stagepost", "version": "1.2.3"} == (await api.client.get("/")).json()
        api.clock.at += timedelta(days=1)
        assert 200 == (await api.client.head("/")).status_code
