from dataclasses import replace

import pytest

from om_server.account.keys.call_settings import CallSettings, CallSettingsChange, OnDisconnect
from om_server.account.keys.key import (
    Key,
    KeyChange,
    KeyLife,
    KeyRevoked,
    KeyWish,
    NewKey,
    credible,
    life_after_rotation,
    masked,
    successor,
)
from om_server.core.errors import InvalidArgument
from om_server.core.ids import KEY_PREFIXES, new_key
from om_server.rpc.caller import Scope

NOW = 1000
SECRET = new_key("apc_", bytes(32))


def key(life: KeyLife | None = None, masked_secret: str = "apc_...x4f2") -> Key:
    return Key(
        organization_id="org_1",
        key_id="key_1",
        team_id="team_1",
        description="for tests",
        masked_secret=masked_secret,
        scopes=frozenset({Scope.READ}),
        test_mode=False,
        life=life or KeyLife(),
        create_time=1,
    )


@pytest.mark.parametrize(
    ("life", "ended"),
    [
        (KeyLife(), False),
        (KeyLife(expire_time=NOW + 1), False),
        (KeyLife(expire_time=NOW), True),
        (KeyLife(revoke_time=NOW), True),
        # Another machine's clock may be ahead; revoked is revoked.
        (KeyLife(revoke_time=NOW + 1), True),
    ],
)
def test_a_key_ends_at_its_expiry_or_when_it_is_revoked(life: KeyLife, ended: bool) -> None:  # noqa: FBT001 - a table
    assert life.ended(NOW) is ended


@pytest.mark.parametrize("prefix", KEY_PREFIXES)
def test_a_key_that_we_may_have_made_is_credible(prefix: str) -> None:
    assert credible(new_key(prefix, bytes(range(32))))


@pytest.mark.parametrize("secret", ["", "sk-abc", "om_live_", SECRET[:-1], SECRET[:-1] + "_", "x" + SECRET])
def test_a_typing_error_is_not_worth_a_look_up(secret: str) -> None:
    assert not credible(secret)


def test_a_development_key_needs_no_checksum() -> None:
    assert credible("om_dev_test_key")


def test_a_mask_shows_the_prefix_and_the_end() -> None:
    assert masked(SECRET) == f"apc_...{SECRET[-4:]}"
    assert masked("om_dev_test_key") == "om_dev_..."


def test_a_secret_is_not_in_what_is_printed() -> None:
    assert SECRET not in repr(NewKey(key(), SECRET))


@pytest.mark.parametrize(
    ("wish", "prefix"),
    [
        (KeyWish("team_1"), "om_live_"),
        (KeyWish("team_1", prefix="apc_"), "apc_"),
        (KeyWish("team_1", test_mode=True), "om_test_"),
        (KeyWish("team_1", test_mode=True, prefix="apc_"), "om_test_"),
    ],
)
def test_a_key_shows_what_it_is_for(wish: KeyWish, prefix: str) -> None:
    assert wish.secret_prefix == prefix


def test_a_key_does_not_end_before_it_begins() -> None:
    KeyWish("team_1", expire_time=NOW + 1).check(NOW)
    with pytest.raises(InvalidArgument) as raised:
        KeyWish("team_1", expire_time=NOW).check(NOW)

    assert raised.value.field == "expire_time"


def test_a_successor_keeps_everything_but_the_secret() -> None:
    calls = CallSettings(OnDisconnect.DRAIN, (("chat", OnDisconnect.CANCEL),), clamp_output=True)
    given = replace(key(KeyLife(expire_time=9000)), owner_expire_time=9000, calls=calls)

    assert successor(given) == KeyWish(
        team_id="team_1",
        description="for tests",
        scopes=frozenset({Scope.READ}),
        test_mode=False,
        expire_time=9000,
        prefix="apc_",
        calls=calls,
    )


@pytest.mark.parametrize("given", [None, 9000])
def test_a_successor_of_a_key_in_its_overlap_lasts_as_long_as_the_owner_said(given: int | None) -> None:
    replaced = replace(key(KeyLife(expire_time=NOW + 5)), owner_expire_time=given)

    assert successor(replaced).expire_time == given


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (
            CallSettingsChange(),
            CallSettings(OnDisconnect.DRAIN, (("chat", OnDisconnect.CANCEL),), clamp_output=True),
        ),
        (
            CallSettingsChange(
                OnDisconnect.UNSPECIFIED, (("chat", OnDisconnect.UNSPECIFIED),), clamp_output=False
            ),
            CallSettings(),
        ),
        (
            CallSettingsChange(by_operation=(("batch", OnDisconnect.DRAIN),)),
            CallSettings(
                OnDisconnect.DRAIN,
                (("batch", OnDisconnect.DRAIN), ("chat", OnDisconnect.CANCEL)),
                clamp_output=True,
            ),
        ),
    ],
)
def test_what_is_not_named_stays_and_what_is_unspecified_goes(
    change: CallSettingsChange, after: CallSettings
) -> None:
    before = CallSettings(OnDisconnect.DRAIN, (("chat", OnDisconnect.CANCEL),), clamp_output=True)

    changed = KeyChange(calls=change).applied(replace(key(), calls=before))

    assert (changed.calls, changed.description) == (after, "for tests")
    assert KeyChange("").applied(key()).description == ""


def test_a_key_has_something_to_say_of_so_many_operations_at_most() -> None:
    many = tuple((f"operation {number}", OnDisconnect.DRAIN) for number in range(65))

    with pytest.raises(InvalidArgument):
        CallSettingsChange(by_operation=many).applied(CallSettings())
    assert CallSettingsChange(by_operation=many[:64]).applied(CallSettings()).by_operation == tuple(
        sorted(many[:64])
    )


def test_a_successor_of_a_development_key_is_an_ordinary_key() -> None:
    assert successor(key(masked_secret="om_dev_...")).secret_prefix == "om_live_"


@pytest.mark.parametrize(
    ("life", "overlap", "after"),
    [
        (KeyLife(), 0, KeyLife(revoke_time=NOW)),
        (KeyLife(), 50, KeyLife(expire_time=NOW + 50)),
        (KeyLife(expire_time=NOW + 20), 50, KeyLife(expire_time=NOW + 20)),
        (KeyLife(expire_time=NOW + 90), 50, KeyLife(expire_time=NOW + 50)),
        (KeyLife(expire_time=NOW + 90), 0, KeyLife(expire_time=NOW + 90, revoke_time=NOW)),
    ],
)
def test_a_replaced_key_ends_after_the_overlap_at_the_latest(
    life: KeyLife, overlap: int, after: KeyLife
) -> None:
    assert life_after_rotation(key(life), NOW, overlap=overlap) == after


@pytest.mark.parametrize("life", [KeyLife(expire_time=NOW), KeyLife(revoke_time=1)])
def test_a_key_that_has_ended_has_no_successor(life: KeyLife) -> None:
    with pytest.raises(KeyRevoked) as raised:
        life_after_rotation(key(life), NOW, overlap=10)

    assert raised.value.metadata == {"key_id": "key_1"}
