"""Reports over HTTP: their rows, their parameters, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from application import report_reading
from entrypoints.report_query import parse_moment, parse_span
from tests.contract.event_store.given import failed, sent, started
from tests.entrypoints.http_api import T0, Api, errors_in, running

COUNTS = {
    "requested": 0,
    "attempts": 0,
    "sent": 0,
    "partly_sent": 0,
    "attempts_failed": 0,
    "uncertain": 0,
    "late_results": 0,
    "switches": 0,
    "duplicates_accepted": 0,
    "held": 0,
    "redriven": 0,
    "failed": 0,
    "cancelled": 0,
}
NOON = "2026-01-01T12:00:00.000000Z"


def catch_up(api: Api) -> None:
    """Project all that is recorded."""
    runner: Any = api.service.reports
    while runner._projector.step().added:
        pass


async def tried(api: Api) -> None:
    """Two emails: one goes out at the second try, one is cancelled."""
    one = await api.accepted(id="one", tags=["otp", "shop"])
    other = await api.accepted(id="other")
    api.record(one, started(provider="primary"), failed(provider="primary"))
    api.clock.at += timedelta(seconds=30)
    api.record(one, started(2, "secondary"), sent(2, "secondary"))
    await api.client.post(f"/emails/{other}/cancel")
    catch_up(api)


async def test_hours_by_provider() -> None:
    """What belongs to no provider stands under null; percentiles where something was sent."""
    async with running() as api:
        await tried(api)
        answer = await api.client.get("/reports/hourly")
        nobody, primary, secondary = answer.json()["data"]

        assert 200 == answer.status_code
        assert {
            "hour": NOON,
            "provider": None,
            **COUNTS,
            "requested": 2,
            "cancelled": 1,
            "delay_ms": None,
            "open_seconds": 0.0,
        } == nobody
        assert {**COUNTS, "attempts": 1, "attempts_failed": 1}.items() <= primary.items()
        assert {**COUNTS, "attempts": 1, "sent": 1}.items() <= secondary.items()
        assert 30_000 == pytest.approx(secondary["delay_ms"]["p50"], rel=0.05)
        assert {"p50", "p95", "p99"} == set(secondary["delay_ms"])
        assert {
            "by": "provider",
            "since": "2025-12-31T12:00:00.000000Z",
            "until": "2026-01-01T13:00:00.000000Z",
            "lag": {"events": 0, "seconds": 0.0},
        } == {key: value for key, value in answer.json().items() if key != "data"}


@pytest.mark.parametrize(
    ("by", "names", "measure", "counts"),
    [
        ("route", ["default"], "requested", [2]),
        ("tag", ["otp", "shop"], "sent", [1, 1]),
        ("kind", ["transient"], "attempts_failed", [1]),
    ],
)
async def test_hours_by_something_else(by: str, names: list[str], measure: str, counts: list[int]) -> None:
    """Only providers have circuits, and kinds have no delays."""
    async with running() as api:
        await tried(api)
        rows = (await api.client.get("/reports/hourly", params={"by": by})).json()["data"]

        assert names == [row[by] for row in rows]
        assert counts == [row[measure] for row in rows]
        assert all("open_seconds" not in row for row in rows)
        assert all(("delay_ms" in row) == (by != "kind") for row in rows)


async def test_providers_over_the_whole_time() -> None:
    """One row each, without an hour; what has none is left out."""
    async with running() as api:
        await tried(api)
        found = (await api.client.get("/reports/providers?since=2026-01-01&until=")).json()

        assert ["primary", "secondary"] == [row["provider"] for row in found["data"]]
        assert [0, 1] == [row["sent"] for row in found["data"]]
        assert all("hour" not in row for row in found["data"])
        assert "2026-01-01T00:00:00.000000Z" == found["since"]
        assert "by" not in found


async def test_another_time() -> None:
    """Whole hours; before and after there is nothing."""
    async with running() as api:
        await tried(api)
        for since, until, rows in (
            ("1h", "", 3),
            ("2026-01-01T12:59:00Z", "2026-01-01T13:30:00Z", 3),
            ("2026-01-01T13:30:00+01:00", "2026-01-01T12:31:00Z", 3),
            ("3h", "1h", 0),
            ("2026-01-01T13:00:00Z", "2026-01-01T14:00:00Z", 0),
        ):
            answer = await api.client.get("/reports/hourly", params={"since": since, "until": until})

            assert rows == len(answer.json()["data"]), since


async def test_a_plus_in_a_url_may_be_a_space() -> None:
    """What most clients send of an offset they did not escape."""
    async with running() as api:
        answer = await api.client.get("/reports/hourly?since=2026-01-01T12:00:00+01:00")

        assert "2026-01-01T11:00:00.000000Z" == answer.json()["since"]


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("since=yesterday", "since", "write it like '24h'"),
        ("since=2026-01-01T00:00:00", "since", "write it like"),
        ("until=0h", "until", "write it like"),
        ("since=2h&until=3h", "since", "must be earlier than until"),
        ("since=400d", "since", "366 days"),
        ("by=day", "by", "must be one of: provider, route, tag, kind"),
        ("sine=24h", "sine", 'did you mean "since"'),
        ("by=tag&by=kind", "by", "is given twice"),
    ],
)
async def test_a_bad_parameter_is_named(query: str, field: str, says: str) -> None:
    """422, with what would be right."""
    async with running() as api:
        told = errors_in(await api.client.get(f"/reports/hourly?{query}"))

        assert [field] == list(told)
        assert says in told[field]


async def test_all_bad_parameters_are_named_at_once() -> None:
    """So that nobody has to ask again for each. Providers are not split by anything."""
    async with running() as api:
        assert {"since", "until", "by"} == set(
            errors_in(await api.client.get("/reports/hourly?since=x&until=y&by=z"))
        )
        assert {"by"} == set(errors_in(await api.client.get("/reports/providers?by=route")))


async def test_more_than_an_answer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, rather than cut short."""
    async with running() as api:
        await tried(api)
        monkeypatch.setattr(report_reading, "SUMS_MAX", 3)

        assert "shorter time" in errors_in(await api.client.get("/reports/hourly"))["since"]


async def test_what_is_lacking_is_said_and_alerts() -> None:
    """In the answer itself; and after some minutes where people look."""

    def broken() -> None:
        raise KeyError("?")

    async with running() as api:
        runner: Any = api.service.reports
        runner._projector.step = broken
        await api.accepted()
        api.clock.at += timedelta(minutes=10)
        for _ in range(5):
            await asyncio.sleep(0)
        lag = (await api.client.get("/reports/hourly")).json()["lag"]
        ready = await api.client.get("/readyz")

        assert 1 == lag["events"]
        assert 600 == pytest.approx(lag["seconds"], abs=1)
        assert 200 == ready.status_code
        assert ["reports_behind seconds=600"] == [alert.partition(" ")[2] for alert in ready.json()["alerts"]]


def test_moments() -> None:
    """Durations before now, days, times; everything else says how to write it."""
    assert T0 - timedelta(minutes=90) == parse_moment("1.5h", T0)
    assert T0.replace(hour=0) == parse_moment("2026-01-01", T0)
    for wrong in (
        "",
        "24",
        "h",
        "2026-13-01",
        "2026-01-01T00:00",
        "36501d",
        "999999999d",
        "0001-01-01T00:00:00+23:00",
    ):
        with pytest.raises(ValueError, match="write it like"):
            parse_moment(wrong, T0)
    span, errors = parse_span(None, None, T0)
    assert span is not None
    assert (T0 - timedelta(hours=24), T0) == (span.since, span.until)
    assert {} == errors
