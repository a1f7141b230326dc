"""A process is read over HTTP, on a port of its own and with a registry of its own."""

from __future__ import annotations

import httpx
import pytest

from om_server.failure import CommandFailed
from om_server.metrics.exposition import exposed, registry_of
from om_server.metrics.rest import RestMetrics
from om_server.metrics.rpc import RpcMetrics
from tests.ports import free_ports


def test_what_is_counted_is_read_over_http() -> None:
    calls, requests = RpcMetrics(), RestMetrics()
    (port,) = free_ports(1)
    with exposed(registry_of(calls, requests), host="127.0.0.1", port=port):
        calls.answered("om.x.v1.X/Get", "NOT_FOUND", reason="NOT_FOUND", seconds=0.2)
        calls.streaming("om.x.v1.X/Watch", 1)
        requests.answered("", 404, seconds=0.1)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text

    lines = text.splitlines()
    assert 'om_rpc_calls_total{code="NOT_FOUND",rpc="om.x.v1.X/Get"} 1.0' in lines
    assert 'om_rpc_refusals_total{reason="NOT_FOUND"} 1.0' in lines
    assert 'om_rpc_streams{rpc="om.x.v1.X/Watch"} 1.0' in lines
    assert 'om_rest_requests_total{operation="none",status="4xx"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_two_processes_in_one_count_apart() -> None:
    first, second = RestMetrics(), RestMetrics()
    first.answered("getHealth", 200, seconds=0.1)

    labels = {"operation": "getHealth", "status": "2xx"}
    assert registry_of(first).get_sample_value("om_rest_requests_total", labels) == 1
    assert registry_of(second).get_sample_value("om_rest_requests_total", labels) is None


def test_a_taken_port_names_its_variable() -> None:
    (port,) = free_ports(1)
    with (
        exposed(registry_of(), host="127.0.0.1", port=port),
        pytest.raises(CommandFailed, match="OM_METRICS_PORT"),
        exposed(registry_of(), host="127.0.0.1", port=port),
    ):
        pass


def test_nothing_listens_by_default() -> None:
    with exposed(registry_of(), host="no such host", port=0):
        pass
