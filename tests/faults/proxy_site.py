"""A proxy as a real process between a provider and a site, which dies and starts again over its journal."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import httpx

from tests.faults.host import PROXY
from tests.faults.patience import PATIENCE_S, awaited
from tests.faults.site import SERVICE_TOKEN, Site
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.faults.failpoint import Fault
    from tests.faults.launcher import Process
    from tests.faults.provider import Provider

PROMPT = "sk-canary, a prompt"
PROVIDER_KEY = "sk-canary-of-a-provider"


def question(*, stream: bool = False) -> dict[str, object]:
    """A call of which at most as much comes back as the provider's stream has."""
    asked: dict[str, object] = {
        "model": "gpt-4o",
        "max_tokens": 100_000,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    return {**asked, "stream": True, "stream_options": {"include_usage": True}} if stream else asked


class ProxySite:
    """One proxy at a time, over a folder of journals."""

    def __init__(self, site: Site, provider: Provider) -> None:
        self.site = site
        self.provider = provider
        self.journal = site.folder / "journal"
        (self._port,) = free_ports(1)
        self._count = 0
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def files(self) -> Path:
        """The journal of the first worker."""
        return self.journal / "0"

    def start(
        self,
        *,
        fault: Fault | None = None,
        workers: int = 1,
        ready: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> Process:
        self._count += 1
        environment = {
            "OM_ENV": "production",
            "OM_SERVICE_TOKEN": SERVICE_TOKEN,
            "OM_GRPC_ADDRESS": f"127.0.0.1:{self.site.environment['OM_GRPC_PORT']}",
            "OM_PROXY_PORT": str(self._port),
            "OM_PROXY_JOURNAL_DIR": str(self.journal),
            "OM_PROXY_WORKERS": str(workers),
            "OM_OPENAI_BASE_URL": self.provider.url,
            "OM_ANTHROPIC_BASE_URL": self.provider.url,
            "OM_GEMINI_BASE_URL": self.provider.url,
            "LOG_LEVEL": "info",
            **(more or {}),
        }
        log = self.site.folder / f"proxy-{self._count}.log"
        process = self.site.host.start(["serve"], environment, log=log, fault=fault, program=PROXY)
        if ready:
            self.process = process
            awaited(lambda: process.ended or self.ready())
            assert not process.ended, log.read_text(errors="replace")
        return process

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def buried(self) -> int:
        """Wait until it has ended by itself, and give its exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        return process.wait()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process = None

    def ask(
        self, *, stream: bool = False, user: str = "", client: httpx.Client | None = None, **headers: str
    ) -> httpx.Response:
        tenant = self.site.tenants[0]
        post = httpx.post if client is None else client.post
        billing = {
            "X-OM-Api-Key": tenant.secret,
            "X-OM-Customer-Id": tenant.organization_id,
            "X-OM-User-Id": user or "anybody",
            "X-OM-Feature-Id": "search",
            "Authorization": f"Bearer {PROVIDER_KEY}",
        }
        return post(
            f"{self.url}/v1/chat/completions",
            headers={**billing, **headers},
            json=question(stream=stream),
            timeout=PATIENCE_S,
        )

    def crash(self, *, stream: bool = False) -> None:
        """Make a call that the proxy does not survive."""
        with contextlib.suppress(httpx.HTTPError):
            self.ask(stream=stream)

    def events(self) -> list[tuple[str, int]]:
        """State and charge of every event that was settled."""
        rows = self.site.rows("SELECT state, charge FROM usage_events ORDER BY event_id")
        return [(str(row[0]), int(row[1] or 0)) for row in rows]

    def wait(self, count: int) -> None:
        """Wait until so many events are settled, and no lease is open."""
        awaited(lambda: len(self.events()) >= count)
        awaited(lambda: not self.site.value("SELECT COUNT(*) FROM leases WHERE state <> 'closed'"))

    def check(self, *charges: int) -> None:
        """Each event was charged once, all that was set aside is free, and the audit agrees."""
        self.wait(len(charges))
        assert sorted(charge for _, charge in self.events()) == sorted(charges)
        wallet = self.site.tenants[0].wallets[""]
        rows = self.site.rows("SELECT wallet_id, available, held FROM wallets")
        [money] = [row[1:] for row in rows if row[0] == wallet.wallet_id]
        assert tuple(money) == (wallet.granted - sum(charges), 0)
        self.stop()
        self.site.stop()
        audit = self.site.run("verify")
        assert audit.wait() == 0, audit.log.read_text()

    def written(self) -> bytes:
        """Everything that lies in any journal."""
        return b"".join(path.read_bytes() for path in self.journal.rglob("*") if path.is_file())


@contextlib.contextmanager
def proxied(site: Site, provider: Provider) -> Iterator[ProxySite]:
    """Start the server; nothing of the proxy runs yet."""
    site.start()
    proxy = ProxySite(site, provider)
    try:
        yield proxy
    finally:
        proxy.kill()


def estimate(text: str) -> int:
    """Tokens of a text that nobody counted."""
    return -(-len(text) // 4)


def request_bytes(*, stream: bool = False) -> int:
    """The size of a question as it is sent."""
    return len(json.dumps(question(stream=stream), separators=(",", ":"), ensure_ascii=False))
