from pathlib import Path

import pytest

from om_server.cli.component import Component, components
from om_server.settings import Settings, SettingsInvalid, load_settings


def made(**variables: object) -> dict[str, Component]:
    settings = load_settings(**{"OM_ENV": "development", "OM_DATABASE_URL": "", **variables})
    return {component.name: component for component in components(settings, "token")}


def test_on_sqlite_the_databases_owner_starts_first_and_settles_itself() -> None:
    assert list(made()) == ["rpc", "rest", "proxy", "simulator", "simulated-proxy"]


def test_on_postgresql_a_worker_settles() -> None:
    assert list(made(OM_DATABASE_URL="postgresql://u@h/db"))[:3] == ["rpc", "worker", "rest"]


def test_in_production_nothing_is_simulated() -> None:
    assert list(made(OM_ENV="production")) == ["rpc", "rest", "proxy"]


def test_only_the_simulated_proxy_reaches_the_simulator() -> None:
    found = made(OM_SIMULATOR_PORT=8999, OM_SIMULATED_PROXY_PORT=8998)

    simulated = found["simulated-proxy"].environment
    assert simulated["OM_OPENAI_BASE_URL"] == "http://127.0.0.1:8999"
    assert simulated["OM_PROXY_PORT"] == "8998"
    assert "OM_OPENAI_BASE_URL" not in found["proxy"].environment


def test_every_process_gets_the_token_and_this_machines_server() -> None:
    for component in made(OM_GRPC_ADDRESS="elsewhere:1", OM_GRPC_PORT=5005, OM_ENV="production").values():
        assert component.environment["OM_SERVICE_TOKEN"] == "token"
        assert component.environment["OM_GRPC_ADDRESS"] == "127.0.0.1:5005"
        assert "token" not in repr(component)


def test_every_port_has_the_variable_that_moves_it() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    variables = [variable for component in made().values() for variable in component.ports]

    assert len(variables) == 7
    assert set(variables) <= aliases


@pytest.mark.parametrize("exists", [False, True])
def test_a_worker_is_ready_when_its_file_is_there(tmp_path: Path, *, exists: bool) -> None:
    worker = made(OM_DATABASE_URL="postgresql://u@h/db", OM_DATA_DIR=tmp_path)["worker"]
    assert worker.ready_file is not None
    assert str(worker.ready_file) in worker.arguments
    if exists:
        worker.ready_file.touch()

    assert worker.ready() is exists


def test_every_process_is_measured_on_a_port_of_its_own() -> None:
    found = made(OM_METRICS_PORT=9464).values()

    ports = {component.name: component.environment["OM_METRICS_PORT"] for component in found}
    assert ports == {
        "rpc": "9464",
        "rest": "9466",
        "proxy": "9474",
        "simulator": "0",
        "simulated-proxy": "9764",
    }
    for component in found:
        assert component.ports.get("OM_METRICS_PORT", 0) == int(ports[component.name])


def test_nothing_is_measured_by_default() -> None:
    for component in made().values():
        assert component.environment["OM_METRICS_PORT"] == "0"
        assert "OM_METRICS_PORT" not in component.ports


def test_there_is_room_for_every_port_behind_the_first() -> None:
    with pytest.raises(SettingsInvalid, match="OM_METRICS_PORT"):
        made(OM_METRICS_PORT=65_535)
