"""`GET /metrics`: what Prometheus reads, in its own parsers' words, and nothing that the docs don't list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from application.measured_store import MeasuredStore
from application.ports import Plan, StoreUnavailable
from application.projections.emails import email_id_of
from application.recorded import EMAIL_PREFIX, Event, circuit_stream, email_stream
from application.standing import FRESH_S, Depth, Standing, Standings
from domain.circuit import CircuitOpened
from domain.rate_limit import Rate
from domain.routing import Priority
from entrypoints.http.options import HttpOptions
from entrypoints.service import Service
from tests.contract.event_store.given import append, failed, started, unit
from tests.entrypoints.http_api import SETTINGS, SHOP, T0, Api, running

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)
EVERY_LIMIT = replace(
    SETTINGS, service_rates=(Rate.parse("6000/m"),), route_rates={"default": (Rate.parse("100/s"),)}
)
Families = Mapping[str, Metric]


async def scraped(api: Api) -> Families:
    """What is exposed, by family."""
    answer = await api.client.get("/metrics")
    assert 200 == answer.status_code, answer.text
    return {one.name: one for one in text_string_to_metric_families(answer.text)}


def value(families: Families, name: str, **labels: str) -> float:
    """The one sample of that name with these labels."""
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert 1 == len(found), (name, labels, found)
    return found[0]


def later(api: Api, seconds: float = FRESH_S) -> None:
    """Let what was read from the database grow old."""
    api.clock.at += timedelta(seconds=seconds)


def happen(api: Api, stream: str, version: int, *events: Event) -> None:
    """Have a worker of this process record it."""
    store = MeasuredStore(api.store, api.clock, api.service.measurements)
    happened = unit(append(stream, version, *events), at=api.clock.now())
    emails = (email_id_of(stream),) if stream.startswith(EMAIL_PREFIX) else ()
    store.transact(Plan(emails=emails), lambda locked: [happened])


# --- format


async def test_the_format_is_the_one_asked_for() -> None:
    """Prometheus' text, readable by any version, unless OpenMetrics is accepted; both hold the same metrics."""
    async with running() as api:
        plain = await api.client.get("/metrics")
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        opened = await api.client.get("/metrics", headers={"Accept": accept})
        strange = await api.client.get("/metrics", headers={"Accept": "application/json;version=x"})
    by_plain = {one.name for one in text_string_to_metric_families(plain.text)}
    families: list[Metric] = [*openmetrics.text_string_to_metric_families(opened.text)]  # type: ignore[no-untyped-call]
    by_openmetrics = {f"{one.name}_info" if one.type == "info" else one.name for one in families}

    assert "text/plain; version=0.0.4; charset=utf-8" == plain.headers["content-type"]
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")
    assert by_plain == by_openmetrics
    assert (200, plain.headers["content-type"]) == (strange.status_code, strange.headers["content-type"])


async def test_no_series_is_exposed_twice() -> None:
    """Prometheus would refuse all of it."""
    async with running(settings=EVERY_LIMIT) as api:
        families = await scraped(api)
    series = [
        (one.name, *sorted(one.labels.items())) for family in families.values() for one in family.samples
    ]

    assert len(series) == len(set(series))


async def test_the_docs_list_exactly_what_is_exposed() -> None:
    """Names, types and labels, each in a row of docs/metrics.md."""
    async with running(settings=EVERY_LIMIT) as api:
        answer = await api.client.get("/metrics")
    exposed = {}
    for family in text_string_to_metric_families(answer.text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exposed[name] = (family.type, labels)
    rows = ROW.finditer(DOCS.read_text())
    listed = {row["name"]: (row["type"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}

    assert listed == exposed


async def test_alerts_in_the_docs_name_what_there_is() -> None:
    """Every metric, and every word that a label is compared with."""
    async with running(settings=EVERY_LIMIT) as api:
        families = await scraped(api)
    names = {sample.name for family in families.values() for sample in family.samples}
    words = {
        word for family in families.values() for sample in family.samples for word in sample.labels.values()
    }
    rules = DOCS.read_text().partition("## Alerts")[2]
    matched = {word for text in re.findall(r'=~?"([^"]+)"', rules) for word in text.split("|")}

    assert 6 == len(re.findall(r"alert:", rules))
    assert set(re.findall(r"\bstagepost_\w+", rules)) <= names
    assert matched
    assert matched <= words


# --- what it says


async def test_what_happened_is_counted() -> None:
    """From the acceptance on; a replay is no second email."""
    async with running() as api:
        for _ in range(2):
            await api.accepted()
        email_id = await api.accepted(id="order-2")
        await api.client.post(f"/emails/{email_id}/cancel")
        families = await scraped(api)

    assert 2 == value(families, "stagepost_emails_accepted_total")
    assert 1 == value(families, "stagepost_emails_ended_total", status="cancelled", reason="")
    assert 0 == value(families, "stagepost_emails_ended_total", status="failed", reason="expired")
    assert 2 == value(families, "stagepost_batch_units_sum", transaction="accept")
    assert 1 == value(families, "stagepost_commit_seconds_count", transaction="decide")


async def test_histograms_add_up() -> None:
    """Buckets are cumulative, and end with everything."""
    async with running() as api:
        await api.accepted()
        families = await scraped(api)
    buckets = {
        one.labels["le"]: one.value
        for one in families["stagepost_batch_units"].samples
        if one.name.endswith("_bucket") and one.labels["transaction"] == "accept"
    }

    assert ("1.0", "+Inf") == (next(iter(buckets)), list(buckets)[-1])
    assert {1.0} == set(buckets.values())


async def test_how_the_queue_stands() -> None:
    """By priority: what is due and since when, what is scheduled, what is held or overdue."""
    async with running() as api:
        await api.accepted()
        later(api, 5)
        await api.accepted(id="order-2")
        await api.accepted(id="order-3", send_at=(T0 + timedelta(hours=1)).isoformat())
        later(api)
        families = await scraped(api)
        later(api, 25 * 3600)
        overdue = await scraped(api)

    assert 2 == value(families, "stagepost_queue_emails", priority="normal", state="due")
    assert 1 == value(families, "stagepost_queue_emails", priority="normal", state="later")
    oldest = value(families, "stagepost_queue_oldest_seconds", priority="normal")
    assert 6 == pytest.approx(oldest, abs=0.1)
    assert 0 == value(families, "stagepost_queue_oldest_seconds", priority="high")
    assert (0, 2) == tuple(value(one, "stagepost_overdue_emails") for one in (families, overdue))


async def test_how_the_providers_stand() -> None:
    """The circuit's state as a 1 among 0s, attempts under way, limits and what is used of them; the paused one."""
    async with running(settings=EVERY_LIMIT) as api:
        email_id = await api.accepted()
        happen(api, email_stream(email_id), 1, started(1, "primary", recipients=(0,)))
        opened = CircuitOpened(epoch=1, reason="account", failures=1, calls=1, until=T0 + timedelta(hours=1))
        happen(api, circuit_stream("primary"), 0, opened)
        await api.client.post("/providers/secondary/pause")
        families = await scraped(api)

    def states(provider: str) -> dict[str, float]:
        return {
            state: value(families, "stagepost_provider_circuit_state", provider=provider, state=state)
            for state in ("closed", "open", "half_open")
        }

    assert {"closed": 0, "open": 1, "half_open": 0} == states("primary")
    assert {"closed": 1, "open": 0, "half_open": 0} == states("secondary")
    paused = [value(families, "stagepost_provider_paused", provider=one) for one in ("primary", "secondary")]
    assert [0, 1] == paused
    assert 1 == value(families, "stagepost_provider_open_attempts", provider="primary")
    for kind, labels in (
        ("provider", {"provider": "primary", "rate": "600/m"}),
        ("service", {"rate": "6000/m"}),
    ):
        limit = float(labels["rate"].partition("/")[0])
        assert limit == value(families, f"stagepost_{kind}_limit", **labels)
        assert 1 == value(families, f"stagepost_{kind}_limit_used", **labels)
    assert 1 == value(families, "stagepost_route_limit_used", route="default", rate="100/s")


async def test_the_labels_stay_few_whatever_the_log_holds() -> None:
    """Addresses, ids, codes and providers of other times make no new series."""
    async with running() as api:
        before = await scraped(api)
        for number in range(20):
            email_id = await api.accepted(id=f"order-{number}", to=f"person-{number}@secret.example")
            old = f"old-{number}"
            happen(api, email_stream(email_id), 1, started(1, old, recipients=(0,)), failed(1, old, code=old))
        later(api)
        answer = await api.client.get("/metrics")
        after = {one.name: one for one in text_string_to_metric_families(answer.text)}

    def count(families: Families) -> int:
        return sum(len(one.samples) for one in families.values())

    assert count(after) == count(before) + 1
    assert 20 == value(after, "stagepost_attempts_total", provider="(gone)", outcome="transient")
    assert not re.search(r"secret|person|order-|old-", answer.text)


# --- the database


NONE = dict.fromkeys(Priority, 0)


class Counted:
    """A reader that counts how often it is asked, and can fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def standing(self) -> Standing:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("gone")
        return Standing(now=T0, oldest={}, overdue=0, held=0, uncertain=0, gates={})

    def depth(self) -> Depth:
        if self.fails:
            raise StoreUnavailable("gone")
        return Depth(due=NONE, later=NONE)

    def put_into(self, service: Service) -> Service:
        """The service with this reader."""
        standings = Standings(reader=self, executor=service.executor, clock=service.clock)
        return replace(service, standings=standings)


async def test_scrapes_that_follow_closely_ask_the_database_once() -> None:
    """Whoever scrapes, and however often."""
    reader = Counted()
    async with running(change=reader.put_into) as api:
        for _ in range(5):
            await scraped(api)
        first = reader.asked
        later(api)
        await scraped(api)

    assert (1, 2) == (first, reader.asked)


async def test_without_the_database_the_counters_are_still_there() -> None:
    """Gauges that would be old are left out instead, and one says why; once it is back they are too."""
    reader = Counted()
    async with running(change=reader.put_into) as api:
        await api.accepted()
        reader.fails = True
        down = await scraped(api)
        reader.fails = False
        later(api)
        up = await scraped(api)

    assert [0, 1] == [value(one, "stagepost_database_up") for one in (down, up)]
    assert 1 == value(down, "stagepost_emails_accepted_total")
    for name in ("stagepost_queue_emails", "stagepost_overdue_emails", "stagepost_provider_paused"):
        assert ([], True) == (down[name].samples, bool(up[name].samples))


# --- who may


async def test_it_takes_the_admin_token() -> None:
    """As Prometheus sends it: `authorization` with its default type, Bearer."""
    options = HttpOptions(admin_token="boss", send_token="clerk", default_from=SHOP, loopback_only=False)
    async with running(options) as api:
        answers = [
            (await api.client.get("/metrics", headers=headers)).status_code
            for headers in ({}, {"Authorization": "Bearer clerk"}, {"Authorization": "Bearer boss"})
        ]

    assert [401, 403, 200] == answers


def test_each_application_counts_for_itself() -> None:
    """Nothing is kept in a registry of the library's own."""
    names = {family.name for family in REGISTRY.collect()}

    assert [] == [name for name in names if name.startswith("stagepost")]
