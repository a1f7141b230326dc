"""The example clients in other languages, built by `make setup`, against a running server."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from om_server import wiring
from om_server.cli.command import seed_development
from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.core.money import CREDITS, Money
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.operations import WalletChange
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.server.conftest import database, postgres_template, sqlite_template
from tools.generate import ROOT, TOOLCHAIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from om_server.storage.database import Database

__all__ = ["database", "postgres_template", "sqlite_template"]

_CLIENTS = ROOT / "clients"
_EXAMPLES = {
    "go": _CLIENTS / "go" / "bin" / "balance",
    "typescript": _CLIENTS / "typescript" / "dist" / "examples" / "balance.js",
}
_DEADLINE_S = 30

# What lies behind the server is the same to every client.
pytestmark = [
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
    pytest.mark.parametrize("command", list(_EXAMPLES), indirect=True),
]


@dataclass(frozen=True, slots=True)
class _Result:
    exit_code: int
    output: str
    errors: str


@pytest.fixture
def command(request: pytest.FixtureRequest) -> list[str]:
    """How the example in this language is started."""
    built = _EXAMPLES[request.param]
    assert built.exists(), f"{built} is missing: run `make setup`"
    return [str(built)] if request.param == "go" else ["node", str(built)]


@asynccontextmanager
async def _serving(platform: wiring.Platform) -> AsyncIterator[str]:
    server = RpcServer(
        platform.servicers,
        platform.account.authenticator(),
        settings=RpcSettings("127.0.0.1:0"),
        service_token="",
        new_request_id=lambda: platform.ids.new("req"),
    )
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _run(command: list[str], address: str, key: str = DEVELOPMENT_KEY) -> _Result:
    environment = {
        "PATH": f"{TOOLCHAIN}{os.pathsep}{os.environ['PATH']}",
        "OM_GRPC_ADDRESS": address,
        "OM_API_KEY": key,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _DEADLINE_S)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return _Result(process.returncode, output.decode(), errors.decode())


def _set_balance(platform: wiring.Platform, organization_id: str, balance: Money) -> None:
    """Move the seeded wallet to a balance, below zero on credit."""
    owner = Owner(OwnerKind.ORGANIZATION, organization_id)
    seeded = platform.wallet.get_wallet(organization_id).available
    platform.wallet.update_wallet(
        organization_id, owner, change=WalletChange(mode=WalletMode.SOFT, credit_limit=10**9)
    )
    if balance.nanos < seeded:
        deduction = Deduction(owner, seeded - balance.nanos, idempotency_key="deduct")
        platform.wallet.deduct_credits(organization_id, deduction)
    elif balance.nanos > seeded:
        deposit = Deposit(owner, balance.nanos - seeded, idempotency_key="grant")
        platform.wallet.grant_credits(organization_id, deposit)
    assert platform.wallet.get_wallet(organization_id).available == balance.nanos


# The third is above 2^53 nano-units, where a double would round.
@pytest.mark.parametrize("balance", ["10000", "0", "12345678.000000001", "9999.9", "-0.25"])
async def test_the_balance_is_printed_to_the_nano(
    database: Database, command: list[str], balance: str
) -> None:
    platform = wiring.build(database)
    _set_balance(platform, seed_development(platform), Money.parse(balance, CREDITS))

    async with _serving(platform) as address:
        result = await _run(command, address)

    assert result == _Result(0, f"{balance} CREDITS\n", "")


async def test_a_wrong_key_fails_with_the_reason_of_the_contract(
    database: Database, command: list[str]
) -> None:
    platform = wiring.build(database)
    seed_development(platform)

    async with _serving(platform) as address:
        result = await _run(command, address, "om_live_wrong")

    assert (result.exit_code, result.output) == (1, "")
    assert result.errors.startswith("CREDENTIAL_INVALID: ")
    assert "om_live_wrong" not in result.errors


async def test_a_server_that_is_away_is_told_by_its_code(database: Database, command: list[str]) -> None:
    platform = wiring.build(database)
    async with _serving(platform) as address:
        pass

    result = await _run(command, address)

    assert (result.exit_code, result.output) == (1, "")
    assert result.errors.startswith("Unavailable: ")
