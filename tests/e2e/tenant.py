"""One organization as its own application sees it: its headers for the proxy, and its reads over REST."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

T = TypeVar("T")

#: A machine that is busy with other tests is slow, not wrong.
PATIENCE_S = 20.0

_NANO = 10**9
_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Funds:
    """What the organization's wallet has, in nano-credits."""

    available: int
    held: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization of which nobody else knows, so that a test counts its own events alone."""

    organization_id: str
    key: str
    web: httpx.Client  # Its base is the REST API.

    def billing(self, user_id: str = "user_123", **more: str) -> dict[str, str]:
        """Give the four headers that every call needs, and any others."""
        return {
            "X-OM-Api-Key": self.key,
            "X-OM-Customer-Id": "acme",
            "X-OM-User-Id": user_id,
            "X-OM-Feature-Id": "ai-chat",
            **more,
        }

    def get(self, path: str, *, expect: int = 200) -> Any:
        """Read a path of the REST API with this tenant's key; decimals stay exact."""
        answer = self.web.get(path, headers=self._credential)
        assert answer.status_code == expect, answer.text
        return json.loads(answer.content, parse_float=Decimal)

    def post(self, path: str, body: object, *, expect: int = 200) -> Any:
        """Send JSON to a path of the REST API with this tenant's key."""
        answer = self.web.post(path, json=body, headers=self._credential)
        assert answer.status_code == expect, answer.text
        return json.loads(answer.content, parse_float=Decimal)

    def grant(self, amount_credits: int, *, user_id: str = "") -> None:
        """Give credits to the organization, or to one of its users."""
        amount = {"currencyCode": "CREDITS", "amountNanos": str(amount_credits * _NANO)}
        owner = {"owner": {"kind": "OWNER_KIND_USER", "id": user_id}} if user_id else {}
        self.post("/api/v1/grants", {**owner, "amount": amount, "idempotencyKey": f"grant-{user_id}"})

    def events(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events are settled and give them, newest first, with their lines."""

        def read() -> list[dict[str, Any]]:
            listed: list[dict[str, Any]] = self.get("/api/v1/events")["events"]
            return listed if len(listed) >= count else []

        found = awaited(read)
        assert len(found) == count
        return found

    def event(self) -> dict[str, Any]:
        """Wait for the only event."""
        return self.events(1)[0]

    def funds(self) -> Funds:
        """Read the organization's wallet as the published API tells it."""
        balance = self.get("/v1/credits/balance")["data"]
        return Funds(_nanos(balance["availableBalance"]), _nanos(balance["reservedBalance"]))

    def funds_at_rest(self) -> Funds:
        """Wait until nothing is held, as proxies give back what nobody uses, and read the wallet."""

        def at_rest() -> Funds | None:
            funds = self.funds()
            return None if funds.held else funds

        return awaited(at_rest)

    @property
    def _credential(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def awaited(read: Callable[[], T | None]) -> T:
    """Read again and again until there is something, with the patience of a busy machine."""
    started = time.monotonic()
    while True:
        found = read()
        elapsed = time.monotonic() - started
        assert elapsed <= PATIENCE_S, f"{found!r} after {elapsed:.3f} s"
        if found:
            return found
        # Another thread of this process does the work that is waited for.
        time.sleep(_PAUSE_S)


def quantities(line: dict[str, Any]) -> dict[str, int]:
    """Give what a line measured, by unit."""
    return {item["unit"]: int(item["amount"]) for item in line["usage"]["quantities"]}


def nanos(event: dict[str, Any], name: str) -> int:
    """Give the cost or the charge of an event; a missing one is a mistake, because it is not zero."""
    return int(event[name]["amountNanos"])


def _nanos(text: str) -> int:
    value = Decimal(text) * _NANO
    assert value == value.to_integral_value()
    return int(value)
