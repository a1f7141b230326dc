import socket

from om_server.cli.finding import Finding
from om_server.cli.listener_check import grpc_finding, listener_findings, proxy_finding, rest_finding
from om_server.settings import load_settings
from tests.rpc import serving
from tests.server.cli.web import Page, address_of, served

_REST = Page(200, b'{"status": "ok", "timestamp": "2026-01-01T00:00:00Z"}')
_PROXY = Page(200, b'{"status": "healthy", "service": "ai-proxy-service"}')
_SIMULATOR = Page(404, b"{}", {"openai-organization": "simulated-organization"})


def port_of(address: str) -> str:
    return address.rsplit(":", 1)[1]


def found(check: str, **variables: object) -> Finding:
    settings = load_settings(OM_ENV="development", **variables)
    return next(finding for finding in listener_findings(settings) if check in finding.check)


def test_a_port_of_ours_is_known() -> None:
    with served({"/health": _REST, "/ready": Page(200)}) as rest:
        assert found("OM_REST_PORT", OM_REST_PORT=port_of(rest)).text == "served by OpenMonetize"
    with served({"/health": _PROXY}) as proxy:
        assert found("OM_PROXY_PORT", OM_PROXY_PORT=port_of(proxy)).text == "served by OpenMonetize"
    with served({"/": _SIMULATOR}) as simulator:
        port = port_of(simulator)
        assert found("OM_SIMULATOR_PORT", OM_SIMULATOR_PORT=port).text == "served by OpenMonetize"
    with serving([]) as channel:
        port = port_of(address_of(channel))
        assert found("OM_GRPC_PORT", OM_GRPC_PORT=port).text == "served by OpenMonetize"


def test_somebody_elses_port_is_a_problem_and_the_variable_moves_it() -> None:
    with served({"/health": Page(200, b'{"status": "up"}')}) as other:
        port = port_of(other)
        for variable in ("OM_GRPC_PORT", "OM_REST_PORT", "OM_PROXY_PORT", "OM_SIMULATOR_PORT"):
            finding = found(variable, **{variable: port})
            assert finding.text == "taken by another program"
            assert finding.remedy == f"set {variable} to another port"


def test_a_free_port_is_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert found("OM_REST_PORT", OM_REST_PORT=port) == Finding(f"port {port} (OM_REST_PORT)", "free")


def test_production_has_no_simulated_ports() -> None:
    checks = [finding.check for finding in listener_findings(load_settings(OM_ENV="production"))]

    assert len(checks) == 8
    assert not any("SIMULAT" in check.upper() for check in checks)


def test_grpc_that_does_not_run_is_a_problem_only_where_a_setting_names_it() -> None:
    with serving([]) as channel:
        assert grpc_finding(address_of(channel), expected=True).text.endswith("serves")
    assert not grpc_finding("127.0.0.1:1", expected=False).problem
    assert "OM_GRPC_ADDRESS" in grpc_finding("127.0.0.1:1", expected=True).remedy


def test_rest_without_its_server_is_a_problem() -> None:
    with served({"/health": _REST, "/ready": Page(503)}) as rest:
        assert rest_finding(rest).problem
    with served({"/health": _REST, "/ready": Page(200)}) as rest:
        assert not rest_finding(rest).problem
    assert rest_finding("127.0.0.1:1").text == "not running"


def test_a_proxy_that_cannot_admit_calls_is_a_problem() -> None:
    with served({"/health": _PROXY, "/health/ready": Page(503)}) as proxy:
        assert proxy_finding("proxy", proxy).problem
    with served({"/health": _PROXY, "/health/ready": Page(200)}) as proxy:
        assert not proxy_finding("proxy", proxy).problem
    assert proxy_finding("proxy", "127.0.0.1:1").text == "not running"
