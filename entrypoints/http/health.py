"""Whether the service lives, and whether it may be given work."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from entrypoints.http.emails import json
from entrypoints.http.problems import Problem
from entrypoints.service import Service

NOT_READY_RETRY_AFTER_S = 5
"""A load balancer asks about as often."""


class Health:
    """The endpoints, and `GET /`, which says who answers here."""

    def __init__(self, service: Service, version: str) -> None:
        self._service = service
        self._version = version

    async def alive(self, request: Request) -> Response:
        """GET /healthz: the process answers. It looks at nothing else, or a slow database would get it killed."""
        return json({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """GET /readyz"""
        readiness = await self._service.readiness()
        if not readiness.problems:
            return json({"status": "ready", "alerts": readiness.alerts})
        raise Problem(
            503,
            "not_ready",
            "; ".join(readiness.problems),
            headers={"Retry-After": str(NOT_READY_RETRY_AFTER_S)},
            problems=readiness.problems,
            alerts=readiness.alerts,
        )

    async def root(self, request: Request) -> Response:
        """GET /"""
        return json({"service": "stagepost", "version": self._version})
