import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.core.errors import InvalidArgument, NotFound, PageTokenInvalid
from om_server.core.event import Attribution, Funding
from om_server.core.money import AMOUNT_MAX, CREDITS, AmountOutOfRange, Money
from om_server.core.page import PageRequest
from om_server.storage.database import Database
from om_server.wallet.charging import LEASE_UNKNOWN, OVER_BOUND, Charge, ChargeResult
from om_server.wallet.entry import EntryKind
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseRequest, LeaseState
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode, WalletState
from tests.server.wallet.scene import FakeClock

ORG = "org_1"
OWNER = Owner.of(ORG, OwnerKind.ORGANIZATION)
ADA = Owner(OwnerKind.USER, "ada")
EDGE = EdgeIdentity("edg_1", 1, "instance-1")
FIRST = PageRequest.of()


def grant(
    wallets: WalletOperations, amount: int, *, owner: Owner = OWNER, expire_time: int | None = None
) -> Wallet:
    key = f"{owner.kind} {owner.owner_id} {amount} {expire_time}"
    return wallets.grant_credits(ORG, Deposit(owner, amount, key, expire_time=expire_time)).wallet


def lease(wallets: WalletOperations, wallet: Wallet, amount: int, *, key: str, max_intents: int = 0) -> Lease:
    request = LeaseRequest(wallet.wallet_id, EDGE, key, f"hash-{key}", amount, amount, max_intents)
    taken = wallets.open_lease(ORG, request)
    assert taken is not None
    return taken


def funded(event_id: str, amount: int, *leases: Lease, retained: int) -> Charge:
    parts = tuple(Funding(one.lease_id, retained, retained) for one in leases)
    return Charge(
        "proxy", event_id, amount, wallet_id=leases[0].wallet_id, funding=parts, edge_id=EDGE.edge_id
    )


def columns(wallet: Wallet) -> tuple[int, int, int]:
    return wallet.available, wallet.held, wallet.receivable


def test_reading_a_missing_wallet_shows_nothing_and_creates_nothing(wallets: WalletOperations) -> None:
    wallet = wallets.get_wallet(ORG, owner=ADA)
    assert (wallet.exists, wallet.wallet_id, wallet.owner, columns(wallet)) == (False, "", ADA, (0, 0, 0))
    assert wallet.state is WalletState.EXHAUSTED
    assert wallets.list_wallets(ORG, page=FIRST).wallets == ()
    assert wallets.resolution_version(ORG) == 0


def test_a_wallet_of_another_organization_is_not_found(wallets: WalletOperations) -> None:
    wallet = grant(wallets, 5)
    assert wallets.get_wallet(ORG, wallet_id=wallet.wallet_id) == wallet
    with pytest.raises(NotFound):
        wallets.get_wallet("org_2", wallet_id=wallet.wallet_id)
    with pytest.raises(NotFound):
        wallets.list_entries("org_2", wallet.wallet_id, page=FIRST)
    with pytest.raises(NotFound):
        wallets.list_leases("org_2", wallet.wallet_id, page=FIRST)
    assert not wallets.get_wallet("org_2").exists


def test_a_wallet_is_read_as_the_clock_leaves_it(wallets: WalletOperations, clock: FakeClock) -> None:
    grant(wallets, 10, expire_time=clock.now + 5)
    grant(wallets, 3, expire_time=clock.now + 9)
    assert wallets.get_wallet(ORG).next_expire_time == clock.now + 5
    clock.now += 5
    wallet = wallets.get_wallet(ORG)
    assert (wallet.available, wallet.next_expire_time) == (3, clock.now + 4)
    assert wallets.list_wallets(ORG, page=FIRST).wallets == (wallet,)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(mode=WalletMode.SOFT))
    assert wallets.get_wallet(ORG).available == 3


def test_seeding_again_changes_nothing(wallets: WalletOperations) -> None:
    wallets.seed_grant(ORG, Money(CREDITS, 500))
    assert wallets.seed_grant(ORG, Money(CREDITS, 500)).replayed
    assert wallets.get_wallet(ORG).available == 500


def test_wallets_are_listed_oldest_first_by_page_and_kind(wallets: WalletOperations) -> None:
    owners = [OWNER, ADA, Owner(OwnerKind.TEAM, "team"), Owner(OwnerKind.USER, "bob")]
    for owner in owners:
        grant(wallets, 1, owner=owner)
    listed: list[Owner] = []
    token = ""
    while True:
        page = wallets.list_wallets(ORG, page=PageRequest.of(3, token))
        listed.extend(wallet.owner for wallet in page.wallets)
        token = page.next_page_token
        if not token:
            break
    assert listed == owners
    users = wallets.list_wallets(ORG, kind=OwnerKind.USER, page=PageRequest.of(2))
    assert [wallet.owner.owner_id for wallet in users.wallets] == ["ada", "bob"]
    assert users.next_page_token == ""
    first = wallets.list_wallets(ORG, page=PageRequest.of(1))
    with pytest.raises(PageTokenInvalid):
        wallets.list_wallets(ORG, kind=OwnerKind.USER, page=PageRequest.of(1, first.next_page_token))


def test_entries_are_listed_newest_first_with_total_and_skip(wallets: WalletOperations) -> None:
    for number in range(5):
        wallet = grant(wallets, number + 1)
    page = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(2))
    assert ([entry.amount for entry in page.entries], page.total_size) == ([5, 4], 5)
    rest = wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(10, page.next_page_token))
    assert ([entry.amount for entry in rest.entries], rest.next_page_token) == ([3, 2, 1], "")
    skipped = wallets.list_entries(
        ORG, wallet.wallet_id, page=PageRequest.of(2, page.next_page_token, skip=1)
    )
    assert [entry.amount for entry in skipped.entries] == [2, 1]
    assert wallets.list_entries(ORG, wallet.wallet_id, page=PageRequest.of(2, skip=9)).entries == ()


def test_the_last_entry_is_not_one_that_only_sets_aside_or_frees(wallets: WalletOperations) -> None:
    wallet = grant(wallets, 100)
    one = lease(wallets, wallet, 10, key="a", max_intents=1)
    wallets.settle_charges(ORG, [funded("evt", 0, one, retained=10)])
    entry = wallets.last_entry(ORG, wallet.wallet_id)
    assert entry is not None
    assert entry.kind is EntryKind.GRANT
    assert wallets.last_entry(ORG, "wal_none") is None


def test_settings_of_a_missing_wallet_create_it(wallets: WalletOperations) -> None:
    change = WalletChange(mode=WalletMode.SOFT, credit_limit=50)
    wallet = wallets.update_wallet(ORG, ADA, change=change)
    assert (wallet.exists, wallet.mode, wallet.credit_limit) == (True, WalletMode.SOFT, 50)
    lease(wallets, wallet, 50, key="a")
    assert columns(wallets.get_wallet(ORG, owner=ADA)) == (-50, 50, 0)


def test_settings_that_are_not_given_stay(wallets: WalletOperations) -> None:
    wallets.update_wallet(ORG, ADA, change=WalletChange(mode=WalletMode.SOFT, credit_limit=50))
    wallet = wallets.update_wallet(ORG, ADA, change=WalletChange(blocked=True))
    assert (wallet.mode, wallet.credit_limit, wallet.state) == (WalletMode.SOFT, 50, WalletState.BLOCKED)
    wallet = wallets.update_wallet(ORG, ADA, change=WalletChange(blocked=False, credit_limit=0))
    assert (wallet.mode, wallet.credit_limit, wallet.state) == (WalletMode.SOFT, 0, WalletState.EXHAUSTED)
    assert wallets.get_wallet(ORG, owner=ADA) == wallet


def test_a_credit_limit_below_what_is_overdrawn_is_refused(wallets: WalletOperations) -> None:
    wallet = wallets.update_wallet(ORG, ADA, change=WalletChange(mode=WalletMode.SOFT, credit_limit=50))
    wallets.settle_charges(ORG, [Charge("api", "evt", 30, wallet_id=wallet.wallet_id)])
    with pytest.raises(InvalidArgument):
        wallets.update_wallet(ORG, ADA, change=WalletChange(credit_limit=29))
    assert wallets.update_wallet(ORG, ADA, change=WalletChange(credit_limit=30)).credit_limit == 30


@pytest.mark.parametrize("limit", [-1, AMOUNT_MAX + 1])
def test_a_credit_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(AmountOutOfRange):
        WalletChange(credit_limit=limit)


def test_the_resolution_version_grows_with_every_wallet_and_change_and_with_nothing_else(
    wallets: WalletOperations,
) -> None:
    wallet = grant(wallets, 10)
    assert wallets.resolution_version(ORG) == 1
    grant(wallets, 11)
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=False))
    lease(wallets, wallet, 5, key="a")
    assert wallets.resolution_version(ORG) == 1
    wallets.update_wallet(ORG, OWNER, change=WalletChange(blocked=True))
    grant(wallets, 1, owner=ADA)
    assert wallets.resolution_version(ORG) == 3
    assert wallets.resolution_version("org_2") == 0


def test_the_user_pays_before_the_customer_before_the_team_before_the_organization(
    wallets: WalletOperations,
) -> None:
    def payer(user_id: str = "ada", customer_id: str = "acme", team_id: str = "team") -> str:
        wallet, version = wallets.resolve(ORG, user_id=user_id, customer_id=customer_id, team_id=team_id)
        assert version == wallets.resolution_version(ORG)
        who = Attribution(user_id=user_id, customer_id=customer_id, team_id=team_id)
        assert wallets.resolve_many(ORG, [who]) == [wallet.wallet_id if wallet else ""]
        return wallet.owner.kind if wallet else "nobody"

    assert payer() == "nobody"
    for kind, owner_id in [
        (OwnerKind.ORGANIZATION, ""),
        (OwnerKind.TEAM, "team"),
        (OwnerKind.CUSTOMER, "acme"),
        (OwnerKind.USER, "ada"),
    ]:
        grant(wallets, 1, owner=Owner.of(ORG, kind, owner_id=owner_id))
        assert payer() == kind
    assert payer(user_id="bob") == OwnerKind.CUSTOMER
    assert payer(user_id="", customer_id=ORG) == OwnerKind.TEAM
    assert payer(user_id="", customer_id="other", team_id="other") == OwnerKind.ORGANIZATION


def test_an_id_is_only_ever_matched_with_its_own_kind(wallets: WalletOperations) -> None:
    grant(wallets, 1, owner=Owner(OwnerKind.TEAM, "ada"))
    assert wallets.resolve(ORG, user_id="ada", customer_id="ada", team_id="")[0] is None


def test_many_attributions_are_resolved_at_once(wallets: WalletOperations) -> None:
    ada, org = grant(wallets, 1, owner=ADA), grant(wallets, 1)
    who = [Attribution(user_id="ada"), Attribution(user_id="bob"), Attribution(user_id="ada")]
    assert wallets.resolve_many(ORG, who) == [ada.wallet_id, org.wallet_id, ada.wallet_id]
    assert wallets.resolve_many("org_2", who) == ["", "", ""]
    assert wallets.resolve_many(ORG, []) == []


def test_settling_moves_the_money_of_many_events_and_wallets_at_once(wallets: WalletOperations) -> None:
    org, ada = grant(wallets, 100), grant(wallets, 50, owner=ADA)
    one = lease(wallets, org, 40, key="a", max_intents=1)
    two = lease(wallets, ada, 30, key="b")
    results = wallets.settle_charges(
        ORG,
        [
            funded("1", 25, one, retained=40),
            funded("2", 35, two, retained=30),
            Charge("api", "3", 90, wallet_id=org.wallet_id),
            Charge("api", "4", 7),
            funded("5", 0, two, retained=0),
        ],
    )
    assert results == [
        ChargeResult(25, 0, 0, org.wallet_id),
        ChargeResult(30, 5, 0, ada.wallet_id, (OVER_BOUND,)),
        ChargeResult(0, 75, 15, org.wallet_id),
        ChargeResult(),
        ChargeResult(0, 0, 0, ada.wallet_id),
    ]
    assert columns(wallets.get_wallet(ORG)) == (0, 0, 15)
    assert columns(wallets.get_wallet(ORG, owner=ADA)) == (15, 0, 0)
    (closed,) = wallets.list_leases(ORG, org.wallet_id, page=FIRST).leases
    (opened,) = wallets.list_leases(ORG, ada.wallet_id, page=FIRST).leases
    assert (closed.state, closed.settled_count, closed.remaining) == (LeaseState.CLOSED, 1, 0)
    assert (opened.state, opened.settled_count, opened.remaining) == (LeaseState.OPEN, 2, 0)


def test_settling_nothing_is_nothing(wallets: WalletOperations) -> None:
    assert wallets.settle_charges(ORG, []) == []


def test_a_lease_of_another_organization_is_unknown(wallets: WalletOperations) -> None:
    wallet = grant(wallets, 100)
    taken = lease(wallets, wallet, 40, key="a")
    theirs = wallets.grant_credits(
        "org_2", Deposit(Owner.of("org_2", OwnerKind.ORGANIZATION), 60, "k")
    ).wallet
    stolen = dataclasses.replace(funded("evt", 40, taken, retained=40), wallet_id=theirs.wallet_id)
    (result,) = wallets.settle_charges("org_2", [stolen])
    assert result == ChargeResult(0, 40, 0, theirs.wallet_id, (LEASE_UNKNOWN,))
    assert columns(wallets.get_wallet(ORG)) == (60, 40, 0)


def test_a_settlement_that_fails_leaves_no_trace(wallets: WalletOperations, database: Database) -> None:
    wallet = grant(wallets, 100)
    taken = lease(wallets, wallet, 40, key="a", max_intents=1)

    def settle_and_fail() -> None:
        wallets.settle_charges(ORG, [funded("evt", 30, taken, retained=40)])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(settle_and_fail)
    assert columns(wallets.get_wallet(ORG)) == (60, 40, 0)
    assert wallets.settle_charges(ORG, [funded("evt", 30, taken, retained=40)])[0].captured == 30


def test_settlements_of_the_same_wallets_at_once_lose_nothing(wallets: WalletOperations) -> None:
    """Two wallets named in opposite orders by every other batch: locks are taken in one order."""
    org, ada = grant(wallets, 10_000), grant(wallets, 10_000, owner=ADA)

    def settle(number: int) -> None:
        pair = [org.wallet_id, ada.wallet_id] if number % 2 else [ada.wallet_id, org.wallet_id]
        wallets.settle_charges(
            ORG, [Charge("api", f"{number}-{wallet_id}", 7, wallet_id=wallet_id) for wallet_id in pair * 3]
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(settle, range(40)))
    assert wallets.get_wallet(ORG).available == 10_000 - 40 * 21
    assert wallets.get_wallet(ORG, owner=ADA).available == 10_000 - 40 * 21


def test_deductions_settlements_and_leases_at_once_conserve_money(wallets: WalletOperations) -> None:
    wallet = grant(wallets, 1_000)

    def work(number: int) -> int:
        if number % 3 == 0:
            return sum(
                entry.amount
                for entry in wallets.deduct_credits(ORG, Deduction(OWNER, 5, f"d{number}")).entries
            )
        if number % 3 == 1:
            charge = Charge("api", f"e{number}", 5, wallet_id=wallet.wallet_id)
            return wallets.settle_charges(ORG, [charge])[0].charged
        taken = lease(wallets, wallet, 20, key=f"k{number}", max_intents=1)
        return wallets.settle_charges(ORG, [funded(f"l{number}", 5, taken, retained=20)])[0].captured

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(60))) == 300
    assert columns(wallets.get_wallet(ORG)) == (700, 0, 0)


def test_leases_of_many_wallets_are_settled_together(wallets: WalletOperations) -> None:
    owners = [Owner(OwnerKind.USER, f"user-{number}") for number in range(5)]
    made = [grant(wallets, 100, owner=owner) for owner in owners]
    taken = [lease(wallets, wallet, 10, key=wallet.wallet_id, max_intents=1) for wallet in made]
    results = wallets.settle_charges(ORG, [funded(one.lease_id, 4, one, retained=10) for one in taken])
    assert [result.captured for result in results] == [4] * 5
    who = [Attribution(user_id=owner.owner_id) for owner in owners]
    assert wallets.resolve_many(ORG, who) == [wallet.wallet_id for wallet in made]
    assert all(columns(wallets.get_wallet(ORG, owner=owner)) == (96, 0, 0) for owner in owners)
