from pathlib import Path

import pytest

from om_server.cli.proxy_settings import load_journal_place, load_provider_origins
from om_server.settings import SettingsInvalid


@pytest.fixture(autouse=True)
def only_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no `.env` of the machine that runs the tests."""
    for name in ("OM_OPENAI_BASE_URL", "OM_ANTHROPIC_BASE_URL", "OM_GEMINI_BASE_URL", "OM_PROXY_JOURNAL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "value", ["api.example.com", "ftp://h", "https://h/v1", "https://h?x=1", "https://h:port", "https://"]
)
def test_a_provider_is_an_origin(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OM_GEMINI_BASE_URL", value)

    with pytest.raises(SettingsInvalid, match=r"^OM_GEMINI_BASE_URL: must be an origin"):
        load_provider_origins()


def test_a_provider_may_be_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OM_OPENAI_BASE_URL", "http://localhost:8084/")

    assert load_provider_origins().openai == "http://localhost:8084/"


def test_journals_are_where_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_journal_place().journal_dir is None

    monkeypatch.setenv("OM_PROXY_JOURNAL_DIR", "elsewhere")

    assert load_journal_place().journal_dir == Path("elsewhere")
