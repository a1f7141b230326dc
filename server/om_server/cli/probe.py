"""Looks at the processes of the platform from outside: does somebody answer, and may a port be had."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 2.0
_BODY_BYTES_MAX = 64 * 1024
_OK = 200

#: Why a port may not be had: somebody listens there.
TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What an address answered to GET: its status, headers by lower-case name, and a body if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, object]

    @property
    def ok(self) -> bool:
        return self.status == _OK


def http_answer(url: str) -> HttpAnswer | None:
    """GET an address of our own; nothing if nobody answers in HTTP."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - our own address
            return _read(answer, answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return _read(error, error.code)
    except (OSError, http.client.HTTPException):
        return None


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError, status: int) -> HttpAnswer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return HttpAnswer(status, headers, _json_object(answer.read(_BODY_BYTES_MAX)))


def http_ready(url: str) -> bool:
    """Tell whether an address answers 200."""
    answer = http_answer(url)
    return answer is not None and answer.ok


def grpc_serving(target: str, service: str = "") -> bool | None:
    """Tell whether a gRPC server says that it serves; nothing if none answers, or not for this service."""
    with grpc.insecure_channel(target) as channel:
        # Not by the generated stub, whose published types have no methods.
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def connects(host: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S):
            return True
    except OSError:
        return False


def refusal(host: str, port: int) -> str:
    """Why this process may not listen there; empty if it may."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # Servers set it too: a connection that ended a moment ago does not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                return TAKEN
            case errno.EACCES:
                return "not allowed to this user"
            case _:
                return f"not to be had on {host}"
    return ""


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
