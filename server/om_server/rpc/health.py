"""Health over the standard protocol: the whole server is healthy while it runs and its database answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

#: The name that asks about the server as a whole.
WHOLE_SERVER = ""
_ANSWER_TIMEOUT_S = 2.0


class HealthServicer(health.aio.HealthServicer):
    """Asks the database at each check of the whole server; a service's own state says that it runs."""

    def __init__(self, database_answers: Callable[[], bool], pool: Executor) -> None:
        super().__init__()
        self._database_answers = database_answers
        self._pool = pool

    async def Check(  # noqa: N802 - the RPC's name
        self,
        request: health_pb2.HealthCheckRequest,
        context: Any,  # noqa: ANN401 - the published base leaves it untyped
    ) -> health_pb2.HealthCheckResponse:
        """NOT_SERVING while stopping, or where the database does not answer in two seconds."""
        state = await super().Check(request, context)
        serving = state.status == health_pb2.HealthCheckResponse.SERVING
        if request.service != WHOLE_SERVER or not serving or await self._asked():
            return state
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _asked(self) -> bool:
        answer = asyncio.get_running_loop().run_in_executor(self._pool, self._database_answers)
        try:
            return await asyncio.wait_for(answer, _ANSWER_TIMEOUT_S)
        except TimeoutError:
            return False
