"""What every RPC must declare about itself; the server and the clients act on it."""

from pathlib import Path

import pytest

from om.type.v1 import access_pb2
from tools import generate
from tools.openapi.contract import Contract, Method


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    path: Path = tmp_path_factory.mktemp("contract") / "descriptors.binpb"
    generate.write_descriptors(path)
    return Contract.read(path)


def own(contract: Contract) -> list[Method]:
    return [method for method in contract.methods() if method.service.startswith("om.")]


def test_the_contract_has_rpcs(contract: Contract) -> None:
    """The other tests here pass on an empty list."""
    assert {method.service for method in own(contract)} >= {
        "om.edge.v1.EdgeService",
        "om.ingestion.v1.IngestionService",
        "om.rating.v1.RatingService",
        "om.wallet.v1.WalletService",
    }


def test_every_rpc_says_whether_it_may_be_repeated(contract: Contract) -> None:
    """A client retries only where the level says so; "unknown" is an answer, silence is none."""
    silent = [m.full_name for m in own(contract) if not m.descriptor.options.HasField("idempotency_level")]

    assert silent == []


def test_every_rpc_says_who_may_call_it(contract: Contract) -> None:
    open_to_nobody = [
        m.full_name
        for m in own(contract)
        if not m.access.allow or access_pb2.PRINCIPAL_UNSPECIFIED in m.access.allow
    ]

    assert open_to_nobody == []


def test_an_rpc_for_keys_names_the_scope_that_the_key_needs(contract: Contract) -> None:
    unscoped = [
        m.full_name
        for m in own(contract)
        if access_pb2.PRINCIPAL_KEY in m.access.allow and not m.access.scope
        # Asking who I am is open to any key.
        if m.full_name != "om.account.v1.AccountService.GetCaller"
    ]

    assert unscoped == []


def test_every_rpc_has_a_comment(contract: Contract) -> None:
    assert [m.full_name for m in own(contract) if not contract.comment(m.full_name)] == []


def test_what_is_read_with_get_changes_nothing(contract: Contract) -> None:
    """Browsers, proxies and crawlers repeat a GET as they like."""
    changing = [
        m.full_name
        for m in own(contract)
        if m.http is not None and m.http.get
        if m.descriptor.options.idempotency_level != m.descriptor.options.NO_SIDE_EFFECTS
    ]

    assert changing == []
