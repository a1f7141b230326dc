"""Settings of the proxy, read once from the environment. Nothing else reads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.providers.compatible.spec import hosts_in, load_providers

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
    #: A file of providers that speak OpenAI's dialect, beside those that ship.
    providers_file: str = Field("", alias="OM_PROVIDERS")
    body_bytes_max: int = Field(32 * 1024 * 1024, alias="OM_PROXY_BODY_BYTES_MAX", ge=1)
    #: Between two parts of a request's body.
    body_timeout_s: float = Field(30, alias="OM_PROXY_BODY_TIMEOUT_S", gt=0)
    #: Until the head of a caller's request is complete.
    head_timeout_s: float = Field(10, alias="OM_PROXY_HEAD_TIMEOUT_S", gt=0)
    #: While a caller takes nothing of what it is sent.
    write_timeout_s: float = Field(60, alias="OM_PROXY_WRITE_TIMEOUT_S", gt=0)
    upstream_connect_timeout_s: float = Field(10, alias="OM_UPSTREAM_CONNECT_TIMEOUT_S", gt=0)
    #: To the response of a plain call, or to the first byte of a stream.
    upstream_timeout_s: float = Field(60, alias="OM_UPSTREAM_TIMEOUT_S", gt=0)
    #: Between two chunks. A stream has no total limit.
    upstream_idle_timeout_s: float = Field(120, alias="OM_UPSTREAM_IDLE_TIMEOUT_S", gt=0)
    #: Names of hosts, with commas between them, that may lead to a private address. Written addresses may.
    private_host_names: str = Field("localhost", alias="OM_UPSTREAM_PRIVATE_HOSTS")
    upstream_connections_max: int = Field(1000, alias="OM_UPSTREAM_CONNECTIONS_MAX", ge=1)
    #: Processes that share the port. Each is an edge of its own, with a journal of its own.
    workers: int = Field(1, alias="OM_PROXY_WORKERS", ge=1, le=256)
    data_dir: Path = Field(Path("data"), alias="OM_DATA_DIR")
    #: The folder of the journals; empty is `journal` in the data folder. No two proxies may have the same.
    journal_dir: str = Field("", alias="OM_PROXY_JOURNAL_DIR")
    #: Whether a call waits until it is on the disk: only then does the journal survive a power cut whole.
    journal_fsync: str = Field("off", alias="OM_JOURNAL_FSYNC", pattern="^(off|batch)$")
    #: How long calls that no strict wallet pays for go on while the server is away; 0 is not at all.
    auth_grace_s: float = Field(900, alias="OM_AUTH_GRACE_S", ge=0)
    #: What becomes of a call whose caller leaves, where the request does not say.
    on_disconnect: OnDisconnect = Field(OnDisconnect.CANCEL, alias="OM_ON_DISCONNECT")
    #: How long an answer is read for nobody, and how much of it.
    drain_s: float = Field(60, alias="OM_DRAIN_S", gt=0)
    drain_bytes_max: int = Field(16 * 1024 * 1024, alias="OM_DRAIN_BYTES_MAX", ge=1)
    #: How long calls may go on after a signal to end; then they are cut, and charged.
    stop_grace_s: float = Field(30, alias="OM_STOP_GRACE_S", ge=0)
    #: Where Prometheus reads the first worker, the next one on the next port; 0 is nowhere.
    metrics_port: int = Field(0, alias="OM_METRICS_PORT", ge=0, le=65_535)
    metrics_host: str = Field("127.0.0.1", alias="OM_METRICS_HOST")
    #: A collector of traces (OTLP over gRPC), such as http://127.0.0.1:4317; empty is none.
    otlp_endpoint: str = Field("", alias="OM_OTLP_ENDPOINT")
    #: How many of the traces that begin here are kept; a caller's own says itself.
    trace_ratio: float = Field(1.0, alias="OM_TRACE_RATIO", ge=0, le=1)
    log_level: str = Field("info", alias="LOG_LEVEL")

    @field_validator("providers_file")
    @classmethod
    def _providers(cls, value: str) -> str:
        load_providers(value)
        return value

    @field_validator("journal_dir", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value)

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

    def journal_of(self, worker: int) -> Path:
        """The journal of one of the processes that share the port."""
        folder = Path(self.journal_dir) if self.journal_dir else self.data_dir / "journal"
        return folder / str(worker)

    @property
    def private_hosts(self) -> frozenset[str]:
        """The names of hosts that may lead to a private address: those that the operator wrote."""
        named = frozenset(name.strip() for name in self.private_host_names.split(",") if name.strip())
        return named | hosts_in(self.providers_file)

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
