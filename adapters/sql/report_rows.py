"""Reading the counts of reports, summed up as somebody asks for them."""

from __future__ import annotations

from datetime import datetime

from adapters.sql.dialect import Sql, time_of
from adapters.sql.engine import Database, Session
from adapters.sql.reports import OPEN_CIRCUITS, Now, progress_of
from application.report_ports import REPORTS, By, Counted, Span, TooMuch

SUMS = """
    SELECT hour, {name} AS name, measure, bucket, CAST(sum(n) AS bigint)
    FROM {table} WHERE build = :build AND hour >= :since AND hour < :until{also}
    GROUP BY hour, {name}, measure, bucket ORDER BY hour, name LIMIT :limit
"""
BY = {
    By.PROVIDER: Sql(SUMS.format(name="provider", table="tallies", also="")),
    By.ROUTE: Sql(SUMS.format(name="route", table="tallies", also="")),
    By.TAG: Sql(SUMS.format(name="tag", table="tag_tallies", also="")),
    By.KIND: Sql(SUMS.format(name="kind", table="tallies", also=" AND kind <> ''")),
}
OPEN_TIMES = Sql("""
    SELECT hour, provider, us FROM open_times
    WHERE build = :build AND hour >= :since AND hour < :until ORDER BY hour, provider LIMIT :limit
""")


class SqlReportRows:
    """A `ReportRows` (see there for what its methods promise)."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def counted(self, span: Span, by: By, limit: int) -> Counted:
        return self._database.read(lambda session: self._counted(session, span, by, limit))

    def _counted(self, session: Session, span: Span, by: By, limit: int) -> Counted:
        progress = progress_of(session, REPORTS, self._now(session))
        assert progress is not None, "the migration makes it"
        where = {"build": progress.build, "since": span.since, "until": span.until, "limit": limit + 1}
        hour_of = _Hours()
        tallies = [
            (hour_of(hour), name, measure, bucket, n)
            for hour, name, measure, bucket, n in session.rows(BY[by], **where)
        ]
        if len(tallies) > limit:
            raise TooMuch
        if by is not By.PROVIDER:
            return Counted(progress=progress, tallies=tallies)
        open_us = [(hour_of(hour), provider, us) for hour, provider, us in session.rows(OPEN_TIMES, **where)]
        since = {provider: time_of(at) for provider, at in session.rows(OPEN_CIRCUITS, build=progress.build)}
        return Counted(progress=progress, tallies=tallies, open_us=open_us, open_since=since)


class _Hours:
    """Times as they were read, each different one parsed once."""

    def __init__(self) -> None:
        self._seen: dict[str | datetime, datetime] = {}

    def __call__(self, value: str | datetime) -> datetime:
        found = self._seen.get(value)
        if found is None:
            found = self._seen[value] = time_of(value)
        return found
