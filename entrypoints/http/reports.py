"""Reports over HTTP: what was counted, by the hour or by provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from application.report_ports import By, TooMuch
from application.report_reading import Report, ReportRow
from entrypoints import shapes
from entrypoints.config_source import suggestion
from entrypoints.http.emails import json
from entrypoints.http.problems import Errors
from entrypoints.report_query import parse_span
from entrypoints.service import Service

SPAN = ("since", "until")


class Reports:
    """The endpoints. `since` and `until` are times, or durations before now; by default the last 24 hours."""

    def __init__(self, service: Service) -> None:
        self._reader = service.report_reader
        self._executor = service.executor
        self._clock = service.clock

    async def hourly(self, request: Request) -> Response:
        """GET /reports/hourly"""
        report = await self._report(request, (*SPAN, "by"))
        return await self._answer(report, report.hourly, {"by": report.by.value})

    async def providers(self, request: Request) -> Response:
        """GET /reports/providers"""
        report = await self._report(request, SPAN)
        return await self._answer(report, [row for row in report.totals if row.name], {})

    async def _answer(self, report: Report, rows: Sequence[ReportRow], more: shapes.Shape) -> Response:
        """Put together off the event loop: of a year by the hour it takes as long as hundreds of emails."""

        def answer() -> Response:
            head = shapes.report_head(report.span, report.lag)
            return json({"data": [shapes.report_row(row, report.by) for row in rows], **more, **head})

        return await self._executor(answer)

    async def _report(self, request: Request, names: Sequence[str]) -> Report:
        errors = Errors()
        given = _given(request.query_params.multi_items(), names, errors)
        span, wrong = parse_span(given.get("since"), given.get("until"), self._clock.now())
        for name, message in wrong.items():
            errors.add(name, message)
        by = _by(given.get("by", By.PROVIDER.value), errors)
        if errors or span is None:
            raise errors.problem()
        try:
            return await self._reader.report(span, by)
        except TooMuch:
            errors.add("since", "asks for more than one answer holds; ask for a shorter time")
            raise errors.problem() from None


def _given(items: Iterable[tuple[str, str]], names: Sequence[str], errors: Errors) -> dict[str, str]:
    """The parameters that are there; empty is as good as absent."""
    given: dict[str, str] = {}
    for name, value in items:
        if name not in names:
            errors.add(name, f"is no parameter we know; {suggestion(name, names)}")
        elif name in given:
            errors.add(name, "is given twice")
        elif value:
            given[name] = value
    return given


def _by(text: str, errors: Errors) -> By:
    try:
        return By(text)
    except ValueError:
        errors.add("by", "must be one of: " + ", ".join(By))
        return By.PROVIDER
