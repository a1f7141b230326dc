"""Health, readiness and what runs here. No credential is asked for."""

import time
from collections.abc import Callable, Mapping

from starlette.responses import Response

from om_server.core.clock import Clock
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.moment import iso_now
from om_server.rest.request import Endpoint, Request
from om_server.rest.response import json_response


class GetHealth:
    """Whether this process answers; it asks nobody."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, _request: Request) -> Response:
        return json_response(200, {"status": "ok", "timestamp": iso_now(self._clock())})


class GetReadiness:
    """Whether requests can be served: the gRPC server answers, and says that its database does."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, _request: Request) -> Response:
        serving = await self._server.serving()
        body = readiness_body(serving=serving, now_us=self._clock())
        return json_response(200 if serving else 503, body)


class GetInfo:
    """Which version runs, where, and since when."""

    def __init__(
        self, version: str, environment: str, *, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._version = version
        self._environment = environment
        self._seconds = seconds
        self._started = seconds()

    async def __call__(self, _request: Request) -> Response:
        body = {
            "service": "api-gateway",
            "version": self._version,
            "environment": self._environment,
            "uptime": round(self._seconds() - self._started, 3),
        }
        return json_response(200, body)


class GetIngestionInfo:
    """What ingestion needs, for a caller with a key. Always 200, as published: the status tells."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        await self._server.confirm_credential(request.context)
        return Answer(200, ingestion_body(serving=await self._server.serving(), now_us=self._clock()))


def ingestion_body(*, serving: bool | None, now_us: int) -> dict[str, object]:
    """The published readiness of ingestion. Its queue is the database, or handed over from there."""
    now = iso_now(now_us)
    if not serving:
        return {"status": "not_ready", "timestamp": now, "error": "Service dependencies unavailable"}
    services = {"database": "connected", "queue": "connected"}
    return {"status": "ready", "timestamp": now, "services": services}


def readiness_body(*, serving: bool | None, now_us: int) -> dict[str, object]:
    """The published checks. `serving` is nothing if the gRPC server did not answer.

    Ingestion and rating are parts of that server, so they are there when it answers.
    """
    answers = serving is not None
    return {
        "status": "ready" if serving else "degraded",
        "checks": {"database": bool(serving), "ingestionService": answers, "ratingEngine": answers},
        "timestamp": iso_now(now_us),
    }


def operations(server: Server, *, clock: Clock, version: str, environment: str) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    health, readiness = GetHealth(clock), GetReadiness(server, clock=clock)
    return {
        "getHealth": health,
        "postHealth": health,
        "getLiveness": health,
        "getReadiness": readiness,
        "getHealthReadiness": readiness,
        "getInfo": GetInfo(version, environment),
        "getIngestionInfo": Documented(
            GetIngestionInfo(server, clock=clock), server, wording=Wording("Failed to get service info")
        ),
    }
