from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.core.errors import DomainError, InvalidArgument, NotFound
from om_server.wallet.funding import Deposit
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

ORG = "org_1"


def user(name: str) -> Owner:
    return Owner(OwnerKind.USER, name)


def made(wallets: WalletOperations, *names: str, organization_id: str = ORG) -> list[str]:
    deposits = [Deposit(user(name), 5, name) for name in names]
    return [wallets.grant_credits(organization_id, one).wallet.wallet_id for one in deposits]


def lead(wallets: WalletOperations, name: str, target_id: str) -> Wallet:
    return wallets.update_wallet(ORG, user(name), change=WalletChange(overflow_wallet_id=target_id))


def test_a_chain_is_three_wallets_deep_and_no_deeper_from_either_end(wallets: WalletOperations) -> None:
    a, b, c, d, e = made(wallets, "a", "b", "c", "d", "e")
    assert lead(wallets, "b", c).overflow_wallet_id == c
    lead(wallets, "a", b)
    lead(wallets, "c", d)
    with pytest.raises(InvalidArgument, match="3 deep"):
        lead(wallets, "e", a)
    assert wallets.get_wallet(ORG, owner=user("e")).overflow_wallet_id == ""
    with pytest.raises(InvalidArgument, match="3 deep"):
        lead(wallets, "d", e)
    lead(wallets, "a", "")
    assert lead(wallets, "d", e).overflow_wallet_id == e


def test_no_chain_leads_back(wallets: WalletOperations) -> None:
    a, b, c = made(wallets, "a", "b", "c")
    lead(wallets, "a", b)
    lead(wallets, "b", c)
    for target in (a, b, c):
        with pytest.raises(InvalidArgument, match="leads back"):
            lead(wallets, "c", target)
    assert wallets.get_wallet(ORG, wallet_id=c).overflow_wallet_id == ""


def test_another_organizations_wallet_is_none(wallets: WalletOperations) -> None:
    made(wallets, "a")
    (foreign,) = made(wallets, "a", organization_id="org_2")
    for target in (foreign, "wal_none"):
        with pytest.raises(NotFound):
            lead(wallets, "a", target)


def test_a_refused_overflow_creates_no_wallet(wallets: WalletOperations) -> None:
    with pytest.raises(NotFound):
        lead(wallets, "new", "wal_none")
    assert not wallets.get_wallet(ORG, owner=user("new")).exists


def test_setting_it_changes_who_pays(wallets: WalletOperations) -> None:
    _, b = made(wallets, "a", "b")
    version = wallets.resolution_version(ORG)
    lead(wallets, "a", b)
    assert wallets.resolution_version(ORG) == version + 1
    lead(wallets, "a", b)
    assert wallets.resolution_version(ORG) == version + 1


def test_two_changes_at_once_never_close_a_ring(wallets: WalletOperations) -> None:
    for turn in range(5):
        first, second = f"a{turn}", f"b{turn}"
        ids = dict(zip((first, second), made(wallets, first, second), strict=True))

        def point(pair: tuple[str, str], ids: dict[str, str] = ids) -> str:
            try:
                return lead(wallets, pair[0], ids[pair[1]]).overflow_wallet_id
            except DomainError as error:
                return error.reason

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(point, [(first, second), (second, first)]))
        assert answers.count("INVALID_ARGUMENT") == 1
