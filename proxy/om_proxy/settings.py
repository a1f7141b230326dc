"""Settings of the proxy, read once from the environment. Nothing else reads it."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

_LEVELS = ("debug", "info", "warning", "error")


class SettingsInvalid(Exception):
    """A variable has a value that cannot be used; the message names it and says why."""


class ProxySettings(BaseSettings):
    """Every variable with its default. A field's alias is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env", populate_by_name=True)

    environment: str = Field("production", alias="OM_ENV", pattern="^(development|production)$")
    host: str = Field("127.0.0.1", alias="OM_HOST")
    port: int = Field(8082, alias="OM_PROXY_PORT", ge=0, le=65_535)
    grpc_address: str = Field("127.0.0.1:50051", alias="OM_GRPC_ADDRESS")
    service_token: SecretStr = Field(alias="OM_SERVICE_TOKEN")
    #: Origins of the providers, without a path. The only hosts that a request can reach.
    openai_base_url: str = Field("https://api.openai.com", alias="OM_OPENAI_BASE_URL")
    anthropic_base_url: str = Field("https://api.anthropic.com", alias="OM_ANTHROPIC_BASE_URL")
    gemini_base_url: str = Field("https://generativelanguage.googleapis.com", alias="OM_GEMINI_BASE_URL")
    body_bytes_max: int = Field(32 * 1024 * 1024, alias="OM_PROXY_BODY_BYTES_MAX", ge=1)
    #: Between two parts of a request's body.
    body_timeout_s: float = Field(30, alias="OM_PROXY_BODY_TIMEOUT_S", gt=0)
    upstream_connect_timeout_s: float = Field(10, alias="OM_UPSTREAM_CONNECT_TIMEOUT_S", gt=0)
    #: To the response of a plain call, or to the first byte of a stream.
    upstream_timeout_s: float = Field(60, alias="OM_UPSTREAM_TIMEOUT_S", gt=0)
    #: Between two chunks. A stream has no total limit.
    upstream_idle_timeout_s: float = Field(120, alias="OM_UPSTREAM_IDLE_TIMEOUT_S", gt=0)
    upstream_connections_max: int = Field(1000, alias="OM_UPSTREAM_CONNECTIONS_MAX", ge=1)
    #: Reports that may wait for the server. When they are this many, calls are refused with 503.
    report_queue_max: int = Field(10_000, alias="OM_REPORT_QUEUE_MAX", ge=1)
    log_level: str = Field("info", alias="LOG_LEVEL")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in _LEVELS:
            raise ValueError(f"must be one of {', '.join(_LEVELS)}")
        return value.lower()

    @field_validator("service_token")
    @classmethod
    def _not_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            raise ValueError("must not be empty")
        return value

    @field_validator("openai_base_url", "anthropic_base_url", "gemini_base_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        url = URL(value)
        if (
            url.scheme not in {"http", "https"}
            or not url.host
            or url.path not in {"", "/"}
            or url.query_string
        ):
            raise ValueError("must be an origin such as https://api.example.com, without a path")
        return str(url.origin())

    def origin_of(self, provider: str) -> str:
        """The origin of a provider, by its canonical name."""
        return {
            "openai": self.openai_base_url,
            "anthropic": self.anthropic_base_url,
            "google": self.gemini_base_url,
        }[provider]


def load_settings(**overrides: object) -> ProxySettings:
    """Read the environment (and `.env`); `SettingsInvalid` names the variable and the reason."""
    try:
        return ProxySettings(**overrides)  # type: ignore[arg-type]  # The model checks each value.
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise SettingsInvalid("; ".join(lines)) from None
