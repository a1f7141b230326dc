from pathlib import Path

import pytest

from om_server.settings import (
    Environment,
    Settings,
    SettingsInvalid,
    load_local_settings,
    load_settings,
)


@pytest.fixture(autouse=True)
def only_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no `.env` of the machine that runs the tests."""
    names = {str(field.alias) for field in Settings.model_fields.values()}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_the_documented_ports() -> None:
    settings = load_settings()

    ports = (settings.rest_port, settings.ingest_port, settings.rating_port, settings.proxy_port)
    assert ports == (3000, 8081, 3001, 8082)
    assert (settings.simulated_proxy_port, settings.grpc_port) == (8083, 50051)
    assert (settings.on_sqlite, settings.sqlite_path) == (True, Path("data/openmonetize.db"))


@pytest.mark.parametrize(
    ("variable", "value", "attribute", "expected"),
    [
        ("OM_ENV", "development", "environment", Environment.DEVELOPMENT),
        ("OM_DATA_DIR", "elsewhere", "data_dir", Path("elsewhere")),
        ("OM_DATABASE_URL", "postgresql://u@h:5/db", "database_url", "postgresql://u@h:5/db"),
        ("OM_DATABASE_URL", "sqlite:///x/y.db", "sqlite_path", Path("x/y.db")),
        ("OM_REDIS_URL", "redis://h:6379/0", "redis_url", "redis://h:6379/0"),
        ("OM_PROXY_PORT", "9001", "proxy_port", 9001),
        ("OM_SIMULATED_PROXY_PORT", "9002", "simulated_proxy_port", 9002),
        ("OM_REST_PORT", "9003", "rest_port", 9003),
        ("OM_INGEST_PORT", "9004", "ingest_port", 9004),
        ("OM_RATING_PORT", "9005", "rating_port", 9005),
        ("OM_GRPC_PORT", "9006", "grpc_port", 9006),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("OM_MONTHLY_QUOTAS", "STARTER=1,growth=2", "monthly_quotas", "STARTER=1,growth=2"),
        ("OM_PUBLIC_URL", "https://om.example/", "public_url", "https://om.example"),
        ("OM_SIGN_UP", "open", "sign_up_open", True),
        ("OM_SMTP_URL", "smtps://om@mail.example", "smtp_url", "smtps://om@mail.example"),
        ("OM_MAIL_FROM", "om@mail.example", "mail_from", "om@mail.example"),
    ],
)
def test_a_variable_is_honoured(
    monkeypatch: pytest.MonkeyPatch, *, variable: str, value: str, attribute: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)

    assert getattr(load_settings(), attribute) == expected


def test_the_service_token_is_honoured_and_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_SERVICE_TOKEN", "token-of-the-test")

    settings = load_settings()

    assert settings.require_service_token() == "token-of-the-test"
    assert "token-of-the-test" not in repr(settings)


def test_a_password_in_an_address_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_DATABASE_URL", "postgresql://u:hidden@h/db")
    monkeypatch.setenv("OM_REDIS_URL", "redis://:hidden@h:1")

    assert "hidden" not in repr(load_settings())


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OM_ENV", "staging", "'development' or 'production'"),
        ("OM_GRPC_PORT", "0", "greater than or equal to 1"),
        ("OM_REST_PORT", "70000", "less than or equal to 65535"),
        ("OM_PROXY_PORT", "http", "integer"),
        ("OM_INGEST_PORT", "-1", "greater"),
        ("OM_RATING_PORT", "3.5", "integer"),
        ("OM_SIMULATED_PROXY_PORT", "x", "integer"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("OM_MONTHLY_QUOTAS", "STARTER", "such as STARTER=10000"),
        ("OM_MONTHLY_QUOTAS", "FREE=5", "FREE is no plan; there are STARTER, GROWTH, ENTERPRISE"),
        ("OM_ADMIN_TOKEN", "short", "20 characters or more"),
        ("OM_DATABASE_URL", "mysql://u:s3cret@h/db", "postgresql://"),
        ("OM_DATABASE_URL", "sqlite:///", "names no file"),
        ("OM_DATABASE_URL", "postgresql://u:s3cret@h:port/db", "PostgreSQL"),
        ("OM_DATABASE_URL", "postgresql://u:s3%zzcret@h/db", "PostgreSQL"),
        ("OM_DATABASE_URL", "postgresql://u:x@s3cret@h/db", "PostgreSQL"),
        ("OM_REDIS_URL", "http://:s3cret@h", "redis://"),
        ("OM_REDIS_URL", "redis://:s3cret@h:port", "redis://"),
        ("OM_REDIS_URL", "redis://", "redis://"),
    ],
)
def test_a_wrong_value_is_told_by_name_and_reason_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, *, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    message = str(raised.value)
    assert message.startswith(f"{variable}: ")
    assert reason in message
    assert "s3cret" not in message
    assert "\n" not in message


def test_every_wrong_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_ENV", "x")
    monkeypatch.setenv("OM_GRPC_PORT", "x")

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    assert [problem.split(":")[0] for problem in raised.value.problems] == ["OM_ENV", "OM_GRPC_PORT"]


def test_variables_of_other_programs_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "REST_PORT", "SERVICE_TOKEN"):
        monkeypatch.setenv(name, "something else")

    assert load_settings() == load_settings(OM_HOST="127.0.0.1")
    assert load_settings().host == "127.0.0.1"


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OM_ENV", "OM_GRPC_PORT", "OM_SERVICE_TOKEN", "OM_REDIS_URL", "OM_DATA_DIR"):
        monkeypatch.setenv(name, "")

    settings = load_settings()

    assert (settings.grpc_port, settings.service_token, settings.data_dir) == (50051, None, Path("data"))
    with pytest.raises(SettingsInvalid, match="OM_SERVICE_TOKEN"):
        settings.require_service_token()


def test_a_local_command_is_in_development_unless_something_says_otherwise(tmp_path: Path) -> None:
    assert load_settings().environment is Environment.PRODUCTION
    assert load_local_settings().environment is Environment.DEVELOPMENT

    (tmp_path / ".env").write_text("OM_ENV=production\n")

    assert load_local_settings().environment is Environment.PRODUCTION


@pytest.mark.parametrize(
    ("host", "listens", "reached"),
    [
        ("127.0.0.1", "127.0.0.1:5", "127.0.0.1:5"),
        ("0.0.0.0", "0.0.0.0:5", "127.0.0.1:5"),  # noqa: S104 - nothing is bound
        ("::", "[::]:5", "[::1]:5"),
    ],
)
def test_what_listens_everywhere_is_reached_on_this_machine(host: str, listens: str, reached: str) -> None:
    settings = load_settings(OM_HOST=host)

    assert (settings.listen_address(5), settings.reach(5)) == (listens, reached)


def test_a_server_elsewhere_is_the_target_of_clients() -> None:
    assert load_settings().rpc_target == "127.0.0.1:50051"
    assert load_settings(OM_GRPC_ADDRESS="rpc.example:1").rpc_target == "rpc.example:1"


@pytest.mark.parametrize(
    ("environment", "choice", "is_open"),
    [
        ("development", "", True),
        ("production", "", False),
        ("development", "closed", False),
        ("production", "open", True),
    ],
)
def test_sign_up_is_open_in_development_unless_something_else_is_said(
    monkeypatch: pytest.MonkeyPatch, *, environment: str, choice: str, is_open: bool
) -> None:
    monkeypatch.setenv("OM_ENV", environment)
    monkeypatch.setenv("OM_SIGN_UP", choice)

    assert load_settings().sign_up_open is is_open


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OM_PUBLIC_URL", "om.example"),
        ("OM_PUBLIC_URL", "https://om.example/path"),
        ("OM_OIDC_ISSUER", "http://provider.example"),
        ("OM_OIDC_ISSUER", "provider.example"),
        ("OM_OIDC_ISSUER", "https://provider.example/?tenant=1"),
        ("OM_SIGN_UP", "yes"),
        ("OM_SMTP_URL", "smtp://om:canary@mail.example:x"),
        ("OM_SMTP_URL", "https://om:canary@mail.example"),
        ("OM_MAIL_FROM", "canary"),
    ],
)
def test_a_wrong_setting_of_people_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, *, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    assert variable in str(raised.value)
    assert "canary" not in str(raised.value)


def test_without_an_issuer_there_is_no_provider() -> None:
    assert load_settings().oidc_client is None


def test_a_provider_is_named_as_a_whole() -> None:
    given = {"OM_OIDC_ISSUER": "https://provider.example/tenant", "OM_OIDC_CLIENT_ID": "om"}

    with pytest.raises(SettingsInvalid, match="OM_OIDC_CLIENT_SECRET"):
        _ = load_settings(**given).oidc_client
    client = load_settings(
        **given, OM_OIDC_CLIENT_SECRET="canary", OM_PUBLIC_URL="https://om.example"
    ).oidc_client

    assert client is not None
    assert client.redirect_uri == "https://om.example/api/v1/oidc/callback"
    assert "canary" not in repr(client)
