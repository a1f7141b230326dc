"""Settings of the proxy that `doctor` looks at. The proxy reads and checks them for itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from om_server import address
from om_server.settings import SOURCES, load


class ProviderOrigins(BaseSettings):
    """Where the proxy sends requests."""

    model_config = SOURCES

    openai: str = Field("https://api.openai.com", alias="OM_OPENAI_BASE_URL")
    anthropic: str = Field("https://api.anthropic.com", alias="OM_ANTHROPIC_BASE_URL")
    gemini: str = Field("https://generativelanguage.googleapis.com", alias="OM_GEMINI_BASE_URL")

    @field_validator("openai", "anthropic", "gemini")
    @classmethod
    def _origin(cls, value: str) -> str:
        if not address.is_origin(value):
            raise ValueError("must be an origin such as https://api.example.com, without a path")
        return value


class JournalPlace(BaseSettings):
    """Where the proxy keeps its journals; without a place they are in the data folder."""

    model_config = SOURCES

    journal_dir: Path | None = Field(None, alias="OM_PROXY_JOURNAL_DIR")


def load_provider_origins() -> ProviderOrigins:
    """Read where the providers are; `SettingsInvalid` names each wrong variable and the reason."""
    return load(ProviderOrigins, {})


def load_journal_place() -> JournalPlace:
    """Read where the journals are."""
    return load(JournalPlace, {})
