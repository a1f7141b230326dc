"""What operations do with keys."""

import hashlib
import json
import threading

import pytest

from om_server.account.keys.call_settings import CallSettings, CallSettingsChange, OnDisconnect
from om_server.account.keys.key import KeyChange, KeyLife, KeyOwner, KeyRevoked
from om_server.account.operations import AccountOperations
from om_server.account.organization import Team
from om_server.account.store import MODELS
from om_server.core.errors import NotFound, Unauthenticated
from om_server.core.ids import new_key
from om_server.core.page import PageRequest
from om_server.rpc.caller import Principal, Scope
from om_server.storage.database import Database
from tests.server.account.harness import SECOND, START, SetClock, create, make_operations

DEVELOPMENT_KEY = "om_dev_test_key"
ALL = PageRequest.of(200)


def everything_stored(database: Database) -> str:
    return repr(database.read(lambda: [list(model.select().tuples()) for model in MODELS]))


def test_a_secret_is_shown_once_and_stored_nowhere(
    accounts: AccountOperations, team: Team, database: Database
) -> None:
    new = create(accounts, team)

    stored = everything_stored(database)
    assert new.key.key_id in stored
    assert new.secret not in stored
    assert new.secret[len("om_live_") : -4] not in stored
    assert hashlib.sha256(new.secret.encode()).hexdigest() in stored


def test_a_new_key_authenticates(accounts: AccountOperations, team: Team) -> None:
    new = create(accounts, team, description="Shop", scopes=frozenset({Scope.INGEST}))

    caller = accounts.authenticator().authenticate(new.secret)

    assert (caller.principal, caller.organization_id) == (Principal.KEY, team.organization_id)
    assert (caller.team_id, caller.key_id) == (team.team_id, new.key.key_id)
    assert caller.scopes == {Scope.INGEST}
    [listed] = accounts.list_keys(team.organization_id, ALL, team_id=team.team_id).items
    assert listed == new.key


def test_a_key_without_wishes_may_report_call_and_read(accounts: AccountOperations, team: Team) -> None:
    assert create(accounts, team).key.scopes == {Scope.INGEST, Scope.PROXY, Scope.READ}


def test_keys_are_listed_by_team(accounts: AccountOperations, team: Team) -> None:
    create(accounts, team)
    other = accounts.create_team(team.organization_id, "Gloves")

    assert not accounts.list_keys(team.organization_id, ALL, team_id=other.team_id).items
    assert len(accounts.list_keys(team.organization_id, ALL).items) == 1


def test_an_unknown_key_authenticates_nobody(accounts: AccountOperations, team: Team) -> None:
    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(new_key("om_live_", bytes(range(32))))


def test_a_typing_error_costs_no_look_up(database: Database, clock: SetClock) -> None:
    class Closed(Database):
        supports_row_locks = database.supports_row_locks

        def __init__(self) -> None:
            """Bind nothing anew."""
            self._engine = database.engine

        def read(self, fn: object) -> None:  # type: ignore[override] # Nothing may be read.
            raise AssertionError

        def _transact(self, fn: object) -> None:  # type: ignore[override] # Nor written.
            raise AssertionError

        def close(self) -> None: ...

    with pytest.raises(Unauthenticated):
        make_operations(Closed(), clock).authenticate_key("om_live_" + "x" * 38)


def test_an_expired_key_authenticates_nobody(
    accounts: AccountOperations, team: Team, clock: SetClock
) -> None:
    new = create(accounts, team, expire_time=START + SECOND)
    assert accounts.authenticate_key(new.secret) == new.key

    clock.advance(1)

    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(new.secret)


def test_a_revoked_key_is_refused_from_then_on(accounts: AccountOperations, team: Team) -> None:
    new = create(accounts, team)

    revoked = accounts.revoke_key(team.organization_id, new.key.key_id)

    assert revoked.life == KeyLife(revoke_time=START)
    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(new.secret)


def test_revoking_again_changes_nothing(accounts: AccountOperations, team: Team, clock: SetClock) -> None:
    new = create(accounts, team)
    first = accounts.revoke_key(team.organization_id, new.key.key_id)
    clock.advance(60)

    assert accounts.revoke_key(team.organization_id, new.key.key_id) == first


def test_a_key_of_another_organization_is_not_found(accounts: AccountOperations, team: Team) -> None:
    new = create(accounts, team)
    other = accounts.create_organization("Another")

    with pytest.raises(NotFound):
        accounts.revoke_key(other.organization_id, new.key.key_id)
    with pytest.raises(NotFound):
        accounts.rotate_key(other.organization_id, new.key.key_id, overlap_seconds=0)
    assert accounts.authenticate_key(new.secret) == new.key


def test_a_rotated_key_works_until_the_overlap_ends(
    accounts: AccountOperations, team: Team, clock: SetClock
) -> None:
    old = create(accounts, team, prefix="apc_", description="Shop")

    new = accounts.rotate_key(team.organization_id, old.key.key_id, overlap_seconds=60)

    assert new.secret.startswith("apc_")
    assert new.secret != old.secret
    assert (new.key.team_id, new.key.description) == (team.team_id, "Shop")
    accounts.authenticate_key(old.secret)
    clock.advance(60)
    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(old.secret)
    assert accounts.authenticate_key(new.secret) == new.key


def test_a_key_rotated_without_overlap_ends_at_once(accounts: AccountOperations, team: Team) -> None:
    old = create(accounts, team)

    accounts.rotate_key(team.organization_id, old.key.key_id, overlap_seconds=0)

    with pytest.raises(Unauthenticated):
        accounts.authenticate_key(old.secret)
    with pytest.raises(KeyRevoked):
        accounts.rotate_key(team.organization_id, old.key.key_id, overlap_seconds=60)


def test_a_rotation_that_is_repeated_because_its_answer_was_lost_makes_a_key_that_lasts(
    accounts: AccountOperations, team: Team, clock: SetClock
) -> None:
    ends = START + 3600 * SECOND
    for given in (None, ends):
        old = create(accounts, team, expire_time=given)
        accounts.rotate_key(team.organization_id, old.key.key_id, overlap_seconds=60)

        again = accounts.rotate_key(team.organization_id, old.key.key_id, overlap_seconds=60)

        assert again.key.life == KeyLife(given)
        assert accounts.authenticate_key(again.secret) == again.key
    clock.advance(61)
    assert accounts.authenticate_key(again.secret) == again.key


def test_a_key_says_what_holds_for_its_calls_and_its_successor_says_the_same(
    accounts: AccountOperations, team: Team
) -> None:
    new = create(accounts, team, description="Shop")
    calls = CallSettings(
        OnDisconnect.DRAIN,
        (("chat", OnDisconnect.CANCEL), ("image edit", OnDisconnect.DRAIN)),
        clamp_output=True,
    )
    change = KeyChange(
        "Front", CallSettingsChange(calls.on_disconnect, calls.by_operation, calls.clamp_output)
    )

    changed = accounts.update_key(team.organization_id, new.key.key_id, change)

    assert (changed.description, changed.calls) == ("Front", calls)
    assert accounts.authenticate_key(new.secret).calls == calls
    [listed] = accounts.list_keys(team.organization_id, ALL).items
    assert listed == changed
    successor = accounts.rotate_key(team.organization_id, new.key.key_id, overlap_seconds=60)
    assert successor.key.calls == calls


def test_a_change_of_a_key_is_audited_and_the_same_again_is_none(
    accounts: AccountOperations, team: Team
) -> None:
    key_id = create(accounts, team, description="Shop").key.key_id
    change = KeyChange(calls=CallSettingsChange(by_operation=(("chat", OnDisconnect.DRAIN),)))

    for _ in range(2):
        accounts.update_key(team.organization_id, key_id, change)

    records = accounts.list_audit_records(team.organization_id, ALL).items
    [record] = [record for record in records if record.action == "UpdateKey"]
    assert record.before is not None
    assert record.after is not None
    before, after = json.loads(record.before), json.loads(record.after)
    assert before | {"on_disconnect_by_operation": ["chat=drain"]} == after != before


def test_neither_a_key_that_has_ended_nor_anothers_is_changed(
    accounts: AccountOperations, team: Team
) -> None:
    key = create(accounts, team).key
    other = accounts.create_organization("Another")
    with pytest.raises(NotFound):
        accounts.update_key(other.organization_id, key.key_id, KeyChange("theirs"))
    accounts.revoke_key(team.organization_id, key.key_id)

    with pytest.raises(KeyRevoked):
        accounts.update_key(team.organization_id, key.key_id, KeyChange("late"))


def test_a_key_has_one_successor_though_two_ask_at_once(accounts: AccountOperations, team: Team) -> None:
    old = create(accounts, team).key
    start = threading.Barrier(4)
    outcomes: list[str] = []

    def rotate() -> None:
        start.wait()
        try:
            accounts.rotate_key(team.organization_id, old.key_id, overlap_seconds=0)
            outcomes.append("successor")
        except KeyRevoked:
            outcomes.append("refused")

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused", "refused", "refused", "successor"]
    assert len(accounts.list_keys(team.organization_id, ALL).items) == 2


def test_owners_of_keys_are_found_across_organizations_and_after_the_end(
    accounts: AccountOperations, team: Team
) -> None:
    revoked = create(accounts, team).key
    accounts.revoke_key(team.organization_id, revoked.key_id)
    other = accounts.create_organization("Another")
    other_team = accounts.create_team(other.organization_id, "Theirs")
    active, second = create(accounts, other_team).key, create(accounts, other_team).key

    owners = accounts.keys_by_id([active.key_id, revoked.key_id, second.key_id, active.key_id, "key_unknown"])

    assert owners == {
        second.key_id: KeyOwner(other.organization_id, other_team.team_id, KeyLife()),
        active.key_id: KeyOwner(other.organization_id, other_team.team_id, KeyLife()),
        revoked.key_id: KeyOwner(team.organization_id, team.team_id, KeyLife(revoke_time=START)),
    }
    assert owners[revoked.key_id].ended(START)
    assert not owners[active.key_id].ended(START)


def test_no_keys_have_no_owners(accounts: AccountOperations) -> None:
    assert accounts.keys_by_id([]) == {}
