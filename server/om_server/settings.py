"""Settings of the server's processes, read once from the environment. Nothing else reads it."""

from __future__ import annotations

import enum
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(enum.StrEnum):
    """Development seeds a key and turns reflection on; production does neither."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class SettingsInvalid(Exception):
    """A variable has a value that cannot be used; the message names it and says why."""


class Settings(BaseSettings):
    """Every variable with its default. A field's alias is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env", populate_by_name=True)

    environment: Environment = Field(Environment.PRODUCTION, alias="OM_ENV")
    data_dir: Path = Field(Path("data"), alias="OM_DATA_DIR")
    #: Empty means a SQLite file in the data folder.
    database_url: str = Field("", alias="OM_DATABASE_URL")
    redis_url: str = Field("", alias="OM_REDIS_URL")
    service_token: SecretStr | None = Field(None, alias="OM_SERVICE_TOKEN")
    host: str = Field("127.0.0.1", alias="OM_HOST")
    grpc_port: int = Field(50_051, alias="OM_GRPC_PORT", ge=1, le=65_535)
    rest_port: int = Field(3000, alias="OM_REST_PORT", ge=1, le=65_535)
    ingest_port: int = Field(8081, alias="OM_INGEST_PORT", ge=1, le=65_535)
    rating_port: int = Field(3001, alias="OM_RATING_PORT", ge=1, le=65_535)
    proxy_port: int = Field(8082, alias="OM_PROXY_PORT", ge=1, le=65_535)
    simulated_proxy_port: int = Field(8083, alias="OM_SIMULATED_PROXY_PORT", ge=1, le=65_535)
    simulator_port: int = Field(8084, alias="OM_SIMULATOR_PORT", ge=1, le=65_535)
    #: Where the other processes find the gRPC server; empty means this machine.
    grpc_address: str = Field("", alias="OM_GRPC_ADDRESS")
    grpc_thread_count: int = Field(16, alias="OM_GRPC_THREADS", ge=1, le=256)
    grpc_concurrent_calls_max: int = Field(1000, alias="OM_GRPC_CONCURRENT_CALLS_MAX", ge=1)
    log_level: str = Field("info", alias="LOG_LEVEL")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        levels = ("debug", "info", "warning", "error")
        if value.lower() not in levels:
            raise ValueError(f"must be one of {', '.join(levels)}")
        return value.lower()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("postgresql://", "sqlite:///")):
            raise ValueError("must be empty, sqlite:///path or postgresql://…")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must be empty or redis://…")
        return value

    @property
    def on_sqlite(self) -> bool:
        """Whether one process owns the database."""
        return not self.database_url.startswith("postgresql://")

    @property
    def sqlite_path(self) -> Path:
        """The file of the embedded database."""
        if self.database_url.startswith("sqlite:///"):
            return Path(self.database_url.removeprefix("sqlite:///"))
        return self.data_dir / "openmonetize.db"

    @property
    def rpc_target(self) -> str:
        """Where clients reach the gRPC server."""
        return self.grpc_address or f"{self.host}:{self.grpc_port}"

    def require_service_token(self) -> str:
        """The token that our own processes show; `SettingsInvalid` if there is none."""
        if self.service_token is None or not self.service_token.get_secret_value():
            raise SettingsInvalid(
                "OM_SERVICE_TOKEN: not set; `openmonetize up` makes one, `serve` needs it given"
            )
        return self.service_token.get_secret_value()


def load_settings(**overrides: object) -> Settings:
    """Read the environment (and `.env`); `SettingsInvalid` names the variable and the reason."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # The model checks each value.
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise SettingsInvalid("; ".join(lines)) from None
