"""The yardstick of REST: uvicorn and starlette with one route, which answers a small JSON text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from om_server.rest.listener import listen

if TYPE_CHECKING:
    from starlette.requests import Request


async def _answer(_request: Request) -> JSONResponse:
    return JSONResponse({"data": {"balance": "10000", "reservedBalance": "0", "availableBalance": "10000"}})


def _main(port: int) -> None:
    app = Starlette(routes=[Route("/", _answer)])
    configuration = uvicorn.Config(app, log_config=None, access_log=False)
    uvicorn.Server(configuration).run(listen("127.0.0.1", (port,)))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
