"""Views made anew over HTTP: begun by one request, watched by others."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from application.replay import ALL, PROJECTIONS, Busy, Rebuilds, UnknownView
from entrypoints import shapes
from entrypoints.config_source import suggestion
from entrypoints.http.emails import json
from entrypoints.http.problems import Problem
from entrypoints.service import Service

NAMES = (*(one.name for one in PROJECTIONS), ALL)


class Rebuilding:
    """The endpoints. It goes on whether or not anybody watches."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def start(self, request: Request) -> Response:
        """POST /rebuild/{view}"""
        view = request.path_params["view"]
        try:
            answer = json(shapes.rebuild(self._rebuilds.start(view)))
        except UnknownView:
            detail = f"There is no view of that name: {suggestion(view, NAMES)}"
            raise Problem(404, "unknown_view", detail) from None
        except Busy:
            detail = "A rebuild is under way; GET /rebuild tells how it goes."
            raise Problem(409, "busy", detail) from None
        answer.status_code = 202
        return answer

    async def state(self, request: Request) -> Response:
        """GET /rebuild"""
        state = self._rebuilds.state
        if state is None:
            raise Problem(404, "not_found", "No view was made anew since the service started.")
        return json(shapes.rebuild(state))

    @property
    def _rebuilds(self) -> Rebuilds:
        if self._service.rebuilds is None:
            raise Problem(404, "not_found", "There is nothing at this path.")
        return self._service.rebuilds
