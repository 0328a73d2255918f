"""Providers over HTTP: how they stand, and what an operator can do about one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from application.operate import UnknownProvider
from entrypoints import shapes
from entrypoints.http.emails import BY, json
from entrypoints.service import Service


class Providers:
    """The endpoints. Every action answers with the provider as it stands after it."""

    def __init__(self, service: Service) -> None:
        self._reader = service.reader
        self._operator = service.operator

    async def list(self, request: Request) -> Response:
        """GET /providers"""
        return json({"data": [shapes.provider(one) for one in await self._reader.providers()]})

    async def pause(self, request: Request) -> Response:
        """POST /providers/{name}/pause"""
        return await self._act(request, self._operator.pause)

    async def resume(self, request: Request) -> Response:
        """POST /providers/{name}/resume"""
        return await self._act(request, self._operator.resume)

    async def reset(self, request: Request) -> Response:
        """POST /providers/{name}/reset"""
        return await self._act(request, self._operator.reset)

    async def _act(self, request: Request, action: Callable[[str, str], Awaitable[None]]) -> Response:
        name = request.path_params["name"]
        await action(name, BY)
        for one in await self._reader.providers():
            if one.name == name:
                return json(shapes.provider(one))
        raise UnknownProvider(name)
