"""The HTTP interface: which path leads where."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.body import Bodies
from entrypoints.http.emails import Emails
from entrypoints.http.events import Events
from entrypoints.http.guard import Guard
from entrypoints.http.health import Health
from entrypoints.http.intake import Intake
from entrypoints.http.metrics import Metrics
from entrypoints.http.options import HttpOptions
from entrypoints.http.problems import REFUSALS, problem_of
from entrypoints.http.providers import Providers
from entrypoints.http.rebuilds import Rebuilding
from entrypoints.http.reports import Reports
from entrypoints.http.send import SendEmail
from entrypoints.service import Service

__all__ = ["HttpOptions", "create_app"]

SEND_PATH = "/send-email"

UNEXPECTED = 500
"""From here on a refusal is worth a line in the log."""


class _Front:
    """Takes `POST /send-email` past Starlette's middleware and routing, and hands everything else on to them.

    They cost some 20 of the 170 µs that a request took in the event loop (median of three runs each).
    """

    def __init__(self, send_email: ASGIApp, rest: ASGIApp, service: Service) -> None:
        self._send_email = send_email
        self._rest = rest
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != SEND_PATH or scope["method"] != "POST":
            await self._rest(scope, receive, send)
            return
        try:
            await self._send_email(scope, receive, send)
        except REFUSALS as error:
            await _refusal(error, self._service)(scope, receive, send)


def _refusal(error: Exception, service: Service) -> Response:
    problem = problem_of(error)
    if problem.status >= UNEXPECTED and isinstance(error, REFUSALS):
        service.logbook.error("request_refused", status=problem.status, code=problem.code)
    return problem.response()


def create_app(service: Service, options: HttpOptions) -> ASGIApp:
    """The application. Starts and stops nothing: whoever serves it does (`entrypoints.http.server`)."""
    bodies = Bodies(options.request_max)
    emails = Emails(service, bodies)
    providers = Providers(service)
    health = Health(service, options.version)
    reports = Reports(service)
    rebuilding = Rebuilding(service)

    async def refuse(request: Request, error: Exception) -> Response:
        return _refusal(error, service)

    send = SendEmail(service, Intake(options.default_from), bodies)
    app = Starlette(
        # `id:path` takes everything up to the end or the next fixed part: ids may hold slashes.
        routes=[
            Route(SEND_PATH, send, methods=["POST"]),
            Route("/statuses", emails.page),
            Route("/statuses/{id:path}", emails.status),
            Route("/emails/{id:path}/events", emails.events),
            Route("/emails/{id:path}/explain", emails.explain),
            Route("/emails/{id:path}/cancel", emails.cancel, methods=["POST"]),
            Route("/emails/{id:path}/retry", emails.retry, methods=["POST"]),
            Route("/events", Events(service).stream),
            Route("/providers", providers.list),
            Route("/providers/{name}/pause", providers.pause, methods=["POST"]),
            Route("/providers/{name}/resume", providers.resume, methods=["POST"]),
            Route("/providers/{name}/reset", providers.reset, methods=["POST"]),
            Route("/rebuild", rebuilding.state),
            Route("/rebuild/{view}", rebuilding.start, methods=["POST"]),
            Route("/reports/hourly", reports.hourly),
            Route("/reports/providers", reports.providers),
            Route("/metrics", Metrics(service, options.version).get),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/", health.root),
        ],
        # For a mistake of ours Starlette sends what `refuse` says, and raises it again for the guard to log.
        exception_handlers=dict.fromkeys((*REFUSALS, Exception), refuse),
    )
    app.router.redirect_slashes = False  # a redirect would lose a POST's body, and an id may end in a slash
    return Guard(_Front(send, app, service), options, service.logbook)
