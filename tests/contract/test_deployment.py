"""compose.yaml, the Dockerfile and .env.example against the code. No image is built."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from om_proxy.settings import ProxySettings
from om_server.__main__ import Service, app
from om_server.settings import Settings
from om_server.storage.row_security import SERVER_ROLE, WORKER_ROLE

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
LASTING = [name for name in SERVICES if name != "migrate"]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)
DOCKERFILE = [
    line.split(maxsplit=1)
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
_KNOWN = {str(field.alias) for kind in (Settings, ProxySettings) for field in kind.model_fields.values()}
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables(value: object) -> list[tuple[str, str, str]]:
    """Every variable of the machine in a part of the file: name, `-` or `?`, and what follows it."""
    return _VARIABLE.findall(yaml.safe_dump(value, width=10_000))


def environment(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[name].get("environment", {})
    return found


@pytest.mark.acceptance("B-108", "B-115", "B-116")
def test_everything_is_started_and_the_stores_are_those_that_are_promised() -> None:
    assert set(SERVICES) == {"postgres", "redis", "migrate", "rpc", "worker", "rest", "proxy"}
    assert SERVICES["postgres"]["image"].startswith("postgres:15")
    assert SERVICES["redis"]["image"].startswith("redis:7")


@pytest.mark.acceptance("B-109", "B-110", "B-111", "B-112")
def test_the_ports_are_the_documented_ones() -> None:
    published = {
        name: port.rpartition(":")[2] for service in SERVICES.values() for port in service.get("ports", ())
        for name, _, _ in _VARIABLE.findall(port)
    }  # fmt: skip
    defaults = {str(field.alias): field.default for field in Settings.model_fields.values()}

    assert published.pop("OM_POSTGRES_PORT") == "5432"
    assert published.pop("OM_REDIS_PORT") == "6379"
    assert set(published) == {
        "OM_GRPC_PORT", "OM_REST_PORT", "OM_INGEST_PORT", "OM_RATING_PORT", "OM_PROXY_PORT",
    }  # fmt: skip
    for name, port in published.items():
        assert int(port) == defaults[name]
        assert [env[name] for env in map(environment, OURS) if name in env] == [int(port)]
    exposed = next(rest for word, rest in DOCKERFILE if word == "EXPOSE")
    assert set(exposed.split()) == set(published.values())


@pytest.mark.parametrize("name", ["postgres", "redis", "rpc"])
def test_what_strangers_have_no_business_with_is_published_for_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_of_the_command_line(name: str) -> None:
    command, *arguments = SERVICES[name]["command"]
    known = get_command(app).commands  # type: ignore[attr-defined]  # Of a group, which this is.

    assert command in known
    if command == "serve":
        assert arguments[0] == name
        assert name in set(Service)
    options = {option for parameter in known[command].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= options


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_container_is_a_setting(name: str) -> None:
    assert set(environment(name)) <= _KNOWN
    assert environment(name)["OM_ENV"] == "production"


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_migration_is_run_once_and_before_whatever_uses_the_database() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    for name in ("rpc", "worker"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("rest", "proxy"):
        assert SERVICES[name]["depends_on"]["rpc"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", ["rpc", "rest", "proxy"])
def test_a_health_check_is_a_program_that_asks_an_address_of_its_own(name: str) -> None:
    kind, program, flag, code = SERVICES[name]["healthcheck"]["test"]
    compile(code, name, "exec")
    ports = [str(value) for variable, value in environment(name).items() if variable.endswith("_PORT")]

    assert (kind, program, flag) == ("CMD", "python", "-c")
    assert any(f"127.0.0.1:{port}" in code for port in ports)
    assert {"rpc": "grpc_serving", "rest": "/ready", "proxy": "/health/ready"}[name] in code


def test_the_workers_health_check_reads_the_file_that_it_writes() -> None:
    ready_file = SERVICES["worker"]["command"][-1]

    assert SERVICES["worker"]["healthcheck"]["test"][1] == f"kill -0 $$(cat {ready_file})"
    assert ready_file.startswith(SERVICES["worker"]["tmpfs"][0])


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_no_more_than_they_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_each_process_has_a_role_of_its_own() -> None:
    roles = {
        name: url.partition("//")[2].partition(":")[0]
        for name in OURS
        if (url := environment(name).get("OM_DATABASE_URL"))
    }

    assert roles == {"migrate": "openmonetize", "rpc": SERVER_ROLE, "worker": WORKER_ROLE}
    script = COMPOSE["configs"]["roles"]["content"]
    assert re.findall(r"CREATE ROLE (\w+) LOGIN PASSWORD :'\w+';", script) == [SERVER_ROLE, WORKER_ROLE]
    assert not shlex.split(script.partition("<<")[0].replace("\\\n", ""))[0].startswith("-")


def test_no_secret_has_a_default() -> None:
    secrets = {
        name for name, _, _ in variables(COMPOSE) if any(word in name for word in ("PASSWORD", "TOKEN"))
    }

    assert secrets == {name for name, value in EXAMPLE.items() if not value}
    for name, kind, _ in variables(COMPOSE):
        assert name not in secrets or kind != "-"
    # One of the places where it is used refuses to start without it.
    assert {name for name, kind, _ in variables(COMPOSE) if kind == "?"} == secrets


@pytest.mark.acceptance("B-113")
def test_the_example_names_every_variable_with_the_default_of_the_file() -> None:
    defaults = {name: default for name, kind, default in variables(COMPOSE) if kind == "-"}
    defaults.pop("OM_IMAGE")

    assert {name: value for name, value in EXAMPLE.items() if value} == defaults


def test_redis_keeps_what_waits() -> None:
    command = " ".join(SERVICES["redis"]["command"])

    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command


def test_what_must_last_is_on_a_volume() -> None:
    kept = {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())
    }

    assert kept == set(COMPOSE["volumes"])
    journal = environment("proxy")["OM_PROXY_JOURNAL_DIR"]
    assert any(journal.startswith(volume.partition(":")[2]) for volume in SERVICES["proxy"]["volumes"])


def test_the_image_is_built_in_stages_and_runs_as_nobody_in_particular() -> None:
    words = [word for word, _ in DOCKERFILE]

    assert words.count("FROM") == 2
    last = DOCKERFILE[len(words) - 1 - words[::-1].index("FROM") :]
    assert ["USER", "openmonetize"] in last
    assert [rest for word, rest in last if word == "ENTRYPOINT"] == ['["openmonetize"]']
    assert all(rest.startswith("--from=build") for word, rest in last if word == "COPY")
    set_here = {name for word, rest in last if word == "ENV" for name in re.findall(r"(OM_\w+)=", rest)}
    assert set_here <= _KNOWN


def test_what_the_image_copies_is_there_and_reaches_the_builder() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for word, rest in DOCKERFILE
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]

    for source in copied:
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source
    assert sorted(copied) == sorted(allowed)
    packages = re.findall(r'^  "(\w+)/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {package for package in packages if (ROOT / package).is_dir()} >= {"server", "proxy", "generated"}


def test_no_file_of_secrets_is_in_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert {".env", "/openmonetize.env"} <= set(ignored)
