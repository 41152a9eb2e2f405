"""The base of the interceptors: each surrounds the handler of a method once, not once a call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

import grpc

from headwater_server.transport.handlers import Behaviour, Handler, surround


class Interceptor(grpc.aio.ServerInterceptor):
    """Surrounds every call of one server with one concern.

    An instance belongs to one server: it keeps the surrounded handlers by the paths of their methods.
    """

    by_method = True

    def __init__(self) -> None:
        self._surrounded: dict[str, Handler] = {}

    @abstractmethod
    def around(self, path: str, behaviour: Behaviour) -> Behaviour:
        """Returns the behaviour with this concern around it; each call of the method calls it.

        The concern acts at the beginning and at the end of a call, never for a message in between.

        Args:
            path: `/package.Service/Method`.
            behaviour: the method, with the inner interceptors around it. A coroutine function.
        """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Returns the surrounded handler of the method; None for a method that the server does not have."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        surrounded = self._surrounded.get(path)
        if surrounded is None:
            surrounded = self._surrounded[path] = surround(handler, partial(self.around, path))
        return surrounded


def method_name(path: str) -> str:
    """`Stream` of `/headwater.v1.AgentService/Stream`."""
    return path.rpartition("/")[2]
