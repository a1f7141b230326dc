import io

import pytest
from rich.console import Console

from om_server.cli.welcome import welcome
from om_server.settings import load_settings


def shown(**variables: object) -> str:
    out = io.StringIO()
    settings = load_settings(**{"OM_DATABASE_URL": "", "OM_REDIS_URL": "", **variables})
    welcome(settings, ["rpc", "rest"], Console(file=out, width=200))
    return out.getvalue()


def test_development_shows_the_key_and_a_request_for_the_simulated_proxy() -> None:
    screen = shown(OM_ENV="development", OM_SIMULATED_PROXY_PORT=8999)

    assert "om_dev_test_key" in screen
    assert "curl http://127.0.0.1:8999/v1/chat/completions" in screen


def test_production_shows_neither() -> None:
    screen = shown(OM_ENV="production")

    assert "om_dev_test_key" not in screen
    assert "curl" not in screen
    assert "openmonetize keys create" in screen


@pytest.mark.parametrize(
    ("url", "place"), [("", "openmonetize.db"), ("postgresql://u:s3cret@h/db", "PostgreSQL")]
)
def test_the_place_of_the_data_is_shown_without_its_password(url: str, place: str) -> None:
    screen = shown(OM_DATABASE_URL=url)

    assert place in screen
    assert "s3cret" not in screen


def test_a_queue_in_redis_is_told() -> None:
    assert "Redis" in shown(OM_REDIS_URL="redis://:s3cret@h")
    assert "Redis" not in shown()
    assert "s3cret" not in shown(OM_REDIS_URL="redis://:s3cret@h")
