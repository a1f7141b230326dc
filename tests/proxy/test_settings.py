from __future__ import annotations

import pytest

from om_proxy.settings import SettingsInvalid, load_settings

TOKEN = {"OM_SERVICE_TOKEN": "canary-token"}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    for name in ("OM_SERVICE_TOKEN", "OM_PROXY_PORT", "OM_OPENAI_BASE_URL", "LOG_LEVEL", "OM_ENV"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_but_the_credential_the_real_providers_are_called() -> None:
    settings = load_settings(**TOKEN)

    assert settings.port == 8082
    assert settings.environment == "production"
    assert {name: settings.origin_of(name) for name in ("openai", "anthropic", "google")} == {
        "openai": "https://api.openai.com",
        "anthropic": "https://api.anthropic.com",
        "google": "https://generativelanguage.googleapis.com",
    }


@pytest.mark.acceptance("B-028", "B-029")
def test_the_published_limits_of_time_are_the_defaults() -> None:
    settings = load_settings(**TOKEN)

    # To the response, or the first byte of a stream; a stream that goes on is limited by its silence alone.
    assert settings.upstream_timeout_s == 60
    assert settings.upstream_idle_timeout_s == 120


@pytest.mark.acceptance("B-035")
def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_SERVICE_TOKEN", "canary-token")
    monkeypatch.setenv("OM_PROXY_PORT", "9000")
    monkeypatch.setenv("OM_OPENAI_BASE_URL", "http://127.0.0.1:8084/")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    settings = load_settings()

    assert (settings.port, settings.openai_base_url, settings.log_level) == (
        9000,
        "http://127.0.0.1:8084",
        "debug",
    )


def test_the_credential_is_never_shown() -> None:
    settings = load_settings(**TOKEN)

    assert "canary" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OM_SERVICE_TOKEN", ""),
        ("OM_PROXY_PORT", "no"),
        ("OM_PROXY_PORT", "65536"),
        ("OM_ENV", "staging"),
        ("LOG_LEVEL", "loud"),
        ("OM_PROXY_BODY_BYTES_MAX", "0"),
        ("OM_PROXY_BODY_TIMEOUT_S", "0"),
        ("OM_UPSTREAM_TIMEOUT_S", "-1"),
        ("OM_UPSTREAM_IDLE_TIMEOUT_S", "0"),
        ("OM_UPSTREAM_CONNECT_TIMEOUT_S", "0"),
        ("OM_UPSTREAM_CONNECTIONS_MAX", "0"),
        ("OM_PROXY_WORKERS", "0"),
        ("OM_JOURNAL_FSYNC", "always"),
        ("OM_OPENAI_BASE_URL", "https://api.openai.com/v1"),
        ("OM_ANTHROPIC_BASE_URL", "api.anthropic.com"),
        ("OM_GEMINI_BASE_URL", "ftp://a.example"),
        ("OM_OPENAI_BASE_URL", "https://a.example?x=1"),
    ],
)
def test_a_wrong_value_stops_the_start_with_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        load_settings(**{**TOKEN, name: value})


def test_a_missing_credential_stops_the_start_with_its_name() -> None:
    with pytest.raises(SettingsInvalid, match="OM_SERVICE_TOKEN"):
        load_settings()


def test_what_is_wrong_is_not_quoted() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(OM_SERVICE_TOKEN="canary-token", OM_OPENAI_BASE_URL="https://canary@/x")

    assert "canary" not in str(caught.value)
