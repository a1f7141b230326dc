"""Settings of the server's processes, read once from the environment. Nothing else reads it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from om_server import address
from om_server.account.oidc.client import OidcClient
from om_server.account.people.mailbox import MailServer, is_sender
from om_server.account.registration.registration import Tier
from om_server.failure import CommandFailed
from om_server.ingestion.quota import read_quotas

# Fields are set by their alias alone: by their names, variables of other programs (HOST, DATABASE_URL)
# would be read as ours. An empty variable is one that is not set, as compose files write it.
SOURCES = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env", env_ignore_empty=True)

_ADMIN_TOKEN_LENGTH_MIN = 20
#: Where the identity provider sends browsers back to, below the public origin; REST answers there.
OIDC_CALLBACK_PATH = "/api/v1/oidc/callback"


class Environment(enum.StrEnum):
    """Development seeds a key and turns reflection on; production does neither."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class SettingsInvalid(CommandFailed):
    """Variables have values that cannot be used; each problem names one and says why, without the value."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """Every variable with its default. A field's alias is the variable's name."""

    model_config = SOURCES

    environment: Environment = Field(Environment.PRODUCTION, alias="OM_ENV")
    data_dir: Path = Field(Path("data"), alias="OM_DATA_DIR")
    #: Empty means a SQLite file in the data folder.
    database_url: str = Field("", alias="OM_DATABASE_URL", repr=False)
    #: Empty means that events wait for settlement in the database.
    redis_url: str = Field("", alias="OM_REDIS_URL", repr=False)
    #: Longer than a settling transaction takes: after it, another worker takes what one had.
    queue_abandoned_after_s: int = Field(60, alias="OM_QUEUE_ABANDONED_AFTER_S", ge=1)
    #: Burn tables that apply from the start of the gRPC server on; none means those that are stored.
    burn_table_file: Path | None = Field(None, alias="OM_BURN_TABLE_FILE")
    service_token: SecretStr | None = Field(None, alias="OM_SERVICE_TOKEN")
    #: What the commands call a running server with; the server itself never looks at it.
    api_key: SecretStr | None = Field(None, alias="OM_API_KEY")
    #: Where people reach the dashboard: links in mails begin with it.
    public_url: str = Field("http://localhost:3000", alias="OM_PUBLIC_URL")
    #: Empty means open in development and closed in production.
    sign_up: str = Field("", alias="OM_SIGN_UP")
    #: The provider that people may sign in with, by the issuer that it calls itself; empty means none.
    oidc_issuer: str = Field("", alias="OM_OIDC_ISSUER")
    oidc_client_id: str = Field("", alias="OM_OIDC_CLIENT_ID")
    oidc_client_secret: SecretStr | None = Field(None, alias="OM_OIDC_CLIENT_SECRET")
    #: What the button to it says.
    oidc_name: str = Field("Single sign-on", alias="OM_OIDC_NAME")
    #: Empty means that mails become files in development, and that none can be sent in production.
    smtp_url: str = Field("", alias="OM_SMTP_URL", repr=False)
    mail_from: str = Field("OpenMonetize <openmonetize@localhost>", alias="OM_MAIL_FROM")
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
    #: Requests of one credential in a window, counted by each REST process; 0 is no limit.
    rate_limit_max: int = Field(0, alias="OM_RATE_LIMIT_MAX", ge=0)
    rate_limit_window_s: int = Field(60, alias="OM_RATE_LIMIT_WINDOW_S", ge=1)
    #: Where Prometheus reads this process; 0 is nowhere. On a port of its own: it tells of every tenant.
    metrics_port: int = Field(0, alias="OM_METRICS_PORT", ge=0, le=65_535)
    metrics_host: str = Field("127.0.0.1", alias="OM_METRICS_HOST")
    #: Events in a calendar month by plan, such as STARTER=10000; a plan that is not named has no quota.
    monthly_quotas: str = Field("", alias="OM_MONTHLY_QUOTAS")
    #: What opens /v1/admin; without one nobody finds it.
    admin_token: SecretStr | None = Field(None, alias="OM_ADMIN_TOKEN")
    #: A collector of traces (OTLP over gRPC), such as http://127.0.0.1:4317; empty is none.
    otlp_endpoint: str = Field("", alias="OM_OTLP_ENDPOINT")
    #: The share of the traces that begin at REST that is kept; a caller's own says itself.
    trace_ratio: float = Field(1.0, alias="OM_TRACE_RATIO", ge=0, le=1)
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
        if value.startswith("postgresql://"):
            address.require_postgres(value)
        elif value == "sqlite:///":
            raise ValueError("names no file; sqlite:///data/openmonetize.db would")
        elif value and not value.startswith("sqlite:///"):
            raise ValueError("must be empty, sqlite:///path or postgresql://user@host/name")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        if value and not address.names_redis(value):
            raise ValueError("must be empty or redis://host:port")
        return value

    @field_validator("monthly_quotas")
    @classmethod
    def _known_plans(cls, value: str) -> str:
        if strange := read_quotas(value).keys() - set(Tier):
            raise ValueError(f"{min(strange)} is no plan; there are {', '.join(Tier)}")
        return value

    @field_validator("admin_token")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _ADMIN_TOKEN_LENGTH_MIN:
            raise ValueError(f"must have {_ADMIN_TOKEN_LENGTH_MIN} characters or more")
        return value

    @field_validator("public_url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if not address.is_origin(value):
            raise ValueError("must be an origin such as https://om.example.com, without a path")
        return value.rstrip("/")

    @field_validator("sign_up")
    @classmethod
    def _known_choice(cls, value: str) -> str:
        if value not in {"", "open", "closed"}:
            raise ValueError("must be open or closed")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _known_issuer(cls, value: str) -> str:
        if value and not address.is_issuer(value):
            raise ValueError("must be an https:// address; plain http is for a provider on this machine")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _known_mail_server(cls, value: str) -> str:
        if value:
            MailServer.from_url(value)
        return value

    @field_validator("mail_from")
    @classmethod
    def _known_sender(cls, value: str) -> str:
        if not is_sender(value):
            raise ValueError("must be an address, or a name with an address in angle brackets")
        return value

    @property
    def sign_up_open(self) -> bool:
        """Whether strangers may make an organization of their own."""
        return (self.sign_up or self._sign_up_default) == "open"

    @property
    def _sign_up_default(self) -> str:
        return "open" if self.environment == Environment.DEVELOPMENT else "closed"

    @property
    def oidc_client(self) -> OidcClient | None:
        """What this installation is to its provider; `SettingsInvalid` if only a part of it is set."""
        secret = self.oidc_client_secret.get_secret_value() if self.oidc_client_secret else ""
        given = {
            "OM_OIDC_ISSUER": self.oidc_issuer,
            "OM_OIDC_CLIENT_ID": self.oidc_client_id,
            "OM_OIDC_CLIENT_SECRET": secret,
        }
        if not any(given.values()):
            return None
        if missing := [name for name, value in given.items() if not value]:
            raise SettingsInvalid(
                *(f"{name}: not set, but sign-in with a provider needs it" for name in missing)
            )
        redirect_uri = f"{self.public_url}{OIDC_CALLBACK_PATH}"
        return OidcClient(self.oidc_issuer, self.oidc_client_id, secret, redirect_uri, self.oidc_name)

    @property
    def mail_dir(self) -> Path:
        """Where mails are written in development."""
        return self.data_dir / "mail"

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
        return self.grpc_address or self.reach(self.grpc_port)

    @property
    def log_dir(self) -> Path:
        """Where `up` keeps what its processes write."""
        return self.data_dir / "logs"

    def listen_address(self, port: int) -> str:
        """The host:port to listen on."""
        return address.joined(self.host, port)

    def reach(self, port: int) -> str:
        """The host:port by which this machine reaches one of its own listeners."""
        return address.joined(address.reachable(self.host), port)

    def require_service_token(self) -> str:
        """The token that our own processes show; `SettingsInvalid` if there is none."""
        if self.service_token is None:
            raise SettingsInvalid(
                "OM_SERVICE_TOKEN: not set; `openmonetize up` makes one, `serve` needs it given"
            )
        return self.service_token.get_secret_value()


class LocalSettings(Settings):
    """The same for commands of a person at a machine of their own: development where nothing is said."""

    environment: Environment = Field(Environment.DEVELOPMENT, alias="OM_ENV")


_Loaded = TypeVar("_Loaded", bound=BaseSettings)


def load_settings(**overrides: object) -> Settings:
    """Read the environment (and `.env`); `SettingsInvalid` names each wrong variable and the reason."""
    return load(Settings, overrides)


def load_local_settings() -> LocalSettings:
    """As `load_settings`, with development as the default environment."""
    return load(LocalSettings, {})


def load(kind: type[_Loaded], overrides: Mapping[str, object]) -> _Loaded:
    """Read the variables of any such model; `SettingsInvalid` as above."""
    try:
        return kind(**overrides)  # type: ignore[arg-type]  # The model checks each value.
    except ValidationError as error:
        # The values stay out: an address may hold a password.
        found = error.errors(include_input=False, include_context=False, include_url=False)
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
            for item in found
        ]
        raise SettingsInvalid(*lines) from None
