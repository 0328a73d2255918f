"""The HTTP interface: which path leads where."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from entrypoints.http.body import Bodies
from entrypoints.http.emails import Emails
from entrypoints.http.guard import Guard
from entrypoints.http.health import Health
from entrypoints.http.intake import Intake
from entrypoints.http.options import HttpOptions
from entrypoints.http.problems import REFUSALS, problem_of
from entrypoints.http.providers import Providers
from entrypoints.http.send import SendEmail
from entrypoints.service import Service

__all__ = ["HttpOptions", "create_app"]

UNEXPECTED = 500
"""From here on a refusal is worth a line in the log."""


def create_app(service: Service, options: HttpOptions) -> Starlette:
    """The application. Starts and stops nothing: whoever serves it does (`entrypoints.http.server`)."""
    bodies = Bodies(options.request_max)
    emails = Emails(service, bodies)
    providers = Providers(service)
    health = Health(service, options.version)

    async def refuse(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status >= UNEXPECTED:
            service.logbook.error("request_refused", status=problem.status, code=problem.code)
        return problem.response()

    send = SendEmail(service, Intake(options.default_from), bodies)
    app = Starlette(
        # `id:path` takes everything up to the end or the next fixed part: ids may hold slashes.
        routes=[
            Route("/send-email", send, methods=["POST"]),
            Route("/statuses", emails.page),
            Route("/statuses/{id:path}", emails.status),
            Route("/emails/{id:path}/events", emails.events),
            Route("/emails/{id:path}/explain", emails.explain),
            Route("/emails/{id:path}/cancel", emails.cancel, methods=["POST"]),
            Route("/emails/{id:path}/retry", emails.retry, methods=["POST"]),
            Route("/providers", providers.list),
            Route("/providers/{name}/pause", providers.pause, methods=["POST"]),
            Route("/providers/{name}/resume", providers.resume, methods=["POST"]),
            Route("/providers/{name}/reset", providers.reset, methods=["POST"]),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/", health.root),
        ],
        middleware=[Middleware(Guard, options, service.logbook)],
        exception_handlers=dict.fromkeys(REFUSALS, refuse),
    )
    app.router.redirect_slashes = False  # a redirect would lose a POST's body, and an id may end in a slash
    return app
