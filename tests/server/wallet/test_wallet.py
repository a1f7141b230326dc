import pytest

from om_server.core.errors import InvalidArgument
from om_server.wallet.grant import Grant
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode, WalletState, payers

ORG = "org_1"
ORGANIZATION = Owner(OwnerKind.ORGANIZATION, ORG)


@pytest.mark.parametrize(
    ("kind", "owner_id"),
    [(OwnerKind.ORGANIZATION, ""), (OwnerKind.ORGANIZATION, ORG), (OwnerKind.CUSTOMER, ORG)],
)
def test_the_organization_owns_a_wallet_under_every_name_it_has(kind: OwnerKind, owner_id: str) -> None:
    assert Owner.of(ORG, kind, owner_id=owner_id) == ORGANIZATION


@pytest.mark.parametrize(
    ("kind", "owner_id"),
    [(OwnerKind.ORGANIZATION, "org_2"), (OwnerKind.USER, ""), (OwnerKind.TEAM, ""), (OwnerKind.CUSTOMER, "")],
)
def test_an_owner_that_cannot_be_is_refused(kind: OwnerKind, owner_id: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        Owner.of(ORG, kind, owner_id=owner_id)
    assert refusal.value.field == "owner.id"


def test_a_user_with_the_organizations_id_is_still_a_user() -> None:
    assert Owner.of(ORG, OwnerKind.USER, owner_id=ORG) == Owner(OwnerKind.USER, ORG)


def test_who_may_pay_is_asked_in_order_and_only_who_is_named() -> None:
    everybody = payers(ORG, user_id="ada", customer_id="acme", team_id="team")
    assert [owner.kind for owner in everybody] == ["user", "customer", "team", "organization"]
    assert payers(ORG, user_id="", customer_id="", team_id="") == (ORGANIZATION,)
    assert payers(ORG, user_id="", customer_id=ORG, team_id="") == (ORGANIZATION,)


@pytest.mark.parametrize(
    ("available", "blocked", "state"),
    [
        (1, False, WalletState.ACTIVE),
        (0, False, WalletState.EXHAUSTED),
        (-1, False, WalletState.EXHAUSTED),
        (1, True, WalletState.BLOCKED),
        (0, True, WalletState.BLOCKED),
    ],
)
def test_the_state_follows_from_the_amounts_and_the_block(
    available: int,
    blocked: bool,  # noqa: FBT001 - a column of the table
    state: WalletState,
) -> None:
    assert Wallet("wal", ORGANIZATION, available=available, blocked=blocked).state is state


def test_only_a_soft_wallet_has_credit() -> None:
    assert Wallet("wal", ORGANIZATION, credit_limit=9).credit == 0
    assert Wallet("wal", ORGANIZATION, mode=WalletMode.SOFT, credit_limit=9).credit == 9


def test_what_is_posted_is_available_and_held() -> None:
    assert Wallet("wal", ORGANIZATION, available=-3, held=5).posted == 2


def test_an_expired_grant_counts_no_longer_although_its_expiry_is_not_posted() -> None:
    wallet = Wallet("wal", ORGANIZATION, available=12, held=4)
    grants = [
        Grant("gone", "wal", 9, 0, available=5, held=4, expire_time=100),
        Grant("next", "wal", 9, 0, available=4, expire_time=101),
        Grant("last", "wal", 9, 0, available=3, expire_time=200),
    ]
    now = wallet.as_of(100, grants)
    assert (now.available, now.held, now.next_expire_time) == (7, 4, 101)
    assert wallet.as_of(100, []) == wallet
