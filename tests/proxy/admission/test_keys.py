"""How long a key is believed, who is told that it is wrong, and what its revocation does."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from structlog.testing import capture_logs

from om.account.v1 import account_service_pb2 as account_pb
from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import access_pb2
from om_proxy.admission.keys import KEY_TIME_TO_LIVE_S, UNKNOWN_KEY_TIME_TO_LIVE_S, Key, KeyRing
from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.server.server_client import ServerAway, ServerRefused
from tests.proxy.bank import KNOWN, NOW_S, Bank, Clock, Till, settle
from tests.proxy.fake_servicer import KEY, KEY_ID


class Ring:
    """A ring of keys before a server of the test's."""

    def __init__(self) -> None:
        self.bank, self.clock = Bank(), Clock()
        self.keys = KeyRing(self.bank, clock=self.clock, now=lambda: NOW_S + self.clock.now)

    async def find(self, secret: str = KEY) -> Key | Problem:
        return await self.keys.find(Secret(secret))

    @property
    def asked(self) -> int:
        return self.bank.count("AuthenticateKey")


@pytest.fixture
def ring() -> Ring:
    return Ring()


async def test_a_key_that_is_used_is_asked_about_behind_its_calls(ring: Ring) -> None:
    assert await ring.find() == KNOWN
    ring.clock.now = KEY_TIME_TO_LIVE_S / 4
    assert await ring.find() == KNOWN
    assert ring.asked == 1

    ring.clock.now = KEY_TIME_TO_LIVE_S / 2
    await ring.find()
    await settle()
    assert ring.asked == 2
    ring.clock.now = KEY_TIME_TO_LIVE_S + 1
    await ring.find()
    assert ring.asked == 2


async def test_a_key_is_not_believed_longer_than_its_time(ring: Ring) -> None:
    await ring.find()
    ring.bank.revoked = True
    ring.clock.now = KEY_TIME_TO_LIVE_S

    assert await ring.find() == problem.invalid_api_key()


async def test_calls_that_come_together_ask_once(ring: Ring) -> None:
    answers = await asyncio.gather(*(ring.find() for _ in range(20)))

    assert answers == [KNOWN] * 20
    assert ring.asked == 1


async def test_a_revoked_key_is_refused_from_the_message_on(ring: Ring) -> None:
    await ring.find()
    ring.bank.revoked = True
    assert await ring.find() == KNOWN

    ring.keys.revoke(KEY_ID, NOW_S)

    assert await ring.find() == problem.invalid_api_key()


async def test_a_key_that_may_be_used_again_is_asked_about_anew(ring: Ring) -> None:
    await ring.find()
    ring.keys.revoke(KEY_ID, NOW_S)
    ring.bank.revoked = True
    assert await ring.find() == problem.invalid_api_key()

    ring.bank.revoked = False
    ring.keys.restore(KEY_ID)
    ring.clock.now = UNKNOWN_KEY_TIME_TO_LIVE_S

    assert await ring.find() == KNOWN


async def test_a_key_that_changed_is_asked_about_before_its_next_call(ring: Ring) -> None:
    await ring.find()
    ring.bank.calls = account_pb.AuthenticateKeyResponse(
        on_disconnect=account_pb.ON_DISCONNECT_DRAIN,
        on_disconnect_by_operation={"chat": account_pb.ON_DISCONNECT_CANCEL},
        clamp_output=True,
    )
    assert await ring.find() == KNOWN, "nobody told"

    ring.keys.restore(KEY_ID)
    key = await ring.find()

    assert isinstance(key, Key)
    assert (key.leaving("chat"), key.leaving("messages")) == (OnDisconnect.CANCEL, OnDisconnect.DRAIN)
    assert key.clamp_output


async def test_a_key_that_changed_goes_on_as_it_was_while_the_server_is_away(ring: Ring) -> None:
    await ring.find()
    ring.keys.restore(KEY_ID)
    ring.bank.down = True

    assert await ring.find() == KNOWN


@pytest.mark.parametrize("policy", [account_pb.ON_DISCONNECT_UNSPECIFIED, 99])
async def test_a_policy_that_says_nothing_here_leaves_it_to_the_proxys_setting(
    ring: Ring, policy: account_pb.OnDisconnect.ValueType
) -> None:
    ring.bank.calls = account_pb.AuthenticateKeyResponse(
        on_disconnect=policy, on_disconnect_by_operation={"chat": policy}
    )

    assert await ring.find() == KNOWN


async def test_a_replaced_key_works_until_its_end(ring: Ring) -> None:
    await ring.find()
    ring.keys.revoke(KEY_ID, NOW_S + 10)
    ring.clock.now = 9.9
    assert await ring.find() == KNOWN

    ring.clock.now = 10
    ring.bank.revoked = True
    assert await ring.find() == problem.invalid_api_key()


async def test_an_answer_from_before_the_revocation_is_not_believed(ring: Ring) -> None:
    ring.bank.answers.clear()
    asking = asyncio.create_task(ring.find())
    await settle()
    ring.keys.revoke(KEY_ID, NOW_S)
    ring.bank.answers.set()

    assert await asking == problem.invalid_api_key()


async def test_a_key_that_ends_by_itself_is_not_believed_longer(ring: Ring) -> None:
    ring.bank.expire_s = NOW_S + 5
    assert await ring.find() == KNOWN
    ring.clock.now = 5

    assert await ring.find() == problem.invalid_api_key()
    ring.bank.down = True
    assert not isinstance(await ring.find(), Key), "nor while the server is away"


async def test_a_wrong_key_is_refused_and_remembered_shortly(ring: Ring) -> None:
    assert await ring.find("om_live_wrong") == problem.invalid_api_key()
    ring.clock.now = UNKNOWN_KEY_TIME_TO_LIVE_S - 0.1
    assert await ring.find("om_live_wrong") == problem.invalid_api_key()
    assert ring.asked == 1

    ring.clock.now = UNKNOWN_KEY_TIME_TO_LIVE_S
    await ring.find("om_live_wrong")
    assert ring.asked == 2


async def test_wrong_keys_do_not_push_out_a_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("om_proxy.admission.keys._KEYS_MAX", 2)
    ring = Ring()
    await ring.find()
    for number in range(5):
        await ring.find(f"om_live_wrong_{number}")
    before = ring.asked
    await ring.find()

    assert ring.asked == before
    assert len(ring.keys._wrong._entries) == 2


async def test_only_a_hash_of_a_key_is_kept_and_it_is_of_all_of_it(ring: Ring) -> None:
    await ring.find()
    assert await ring.find(KEY + "x") == problem.invalid_api_key()

    assert set(ring.keys._keys._entries) == {hashlib.sha256(KEY.encode()).digest()}
    assert KEY not in repr([ring.keys._keys._entries, ring.keys._wrong._entries])


@pytest.mark.parametrize(
    ("scopes", "good"),
    [
        ([], False),
        ([access_pb2.SCOPE_INGEST, access_pb2.SCOPE_READ], False),
        ([access_pb2.SCOPE_INGEST, access_pb2.SCOPE_PROXY], True),
        ([access_pb2.SCOPE_ADMIN], True),
    ],
)
async def test_a_key_needs_the_scope_of_the_proxy(
    ring: Ring, scopes: list[access_pb2.Scope.ValueType], *, good: bool
) -> None:
    ring.bank.scopes = scopes

    assert await ring.find() == (KNOWN if good else problem.invalid_api_key())


async def test_while_the_server_is_away_a_known_key_goes_on_and_an_unknown_is_not_wrong(ring: Ring) -> None:
    await ring.find()
    ring.clock.now = KEY_TIME_TO_LIVE_S * 10
    ring.bank.down = True

    assert await ring.find() == KNOWN
    assert await ring.find("om_live_other") == problem.unavailable()


async def test_a_call_with_a_known_key_does_not_wait_for_a_server_that_is_away(ring: Ring) -> None:
    await ring.find()
    ring.clock.now = KEY_TIME_TO_LIVE_S
    ring.bank.down = True
    await ring.find()
    ring.bank.answers.clear()

    async with asyncio.timeout(1):
        assert await ring.find() == KNOWN


async def test_a_wrong_service_credential_makes_no_key_wrong(ring: Ring) -> None:
    ring.bank.trusts_us = False
    ring.bank.errors["AuthenticateKey"] = [ServerRefused("CREDENTIAL_INVALID")]

    assert await ring.find() == problem.unavailable()
    assert await ring.find() == KNOWN


async def test_an_unexpected_refusal_is_our_trouble_and_told(ring: Ring) -> None:
    ring.bank.errors["AuthenticateKey"] = [ServerRefused("ACCESS_DENIED")]
    with capture_logs() as logs:
        assert await ring.find() == problem.unavailable()

    assert [entry["reason"] for entry in logs] == ["ACCESS_DENIED"]


async def test_what_is_known_is_confirmed_by_the_stream_and_by_answers(ring: Ring) -> None:
    await ring.find()
    ring.clock.now = 100
    assert ring.keys.unconfirmed_s(Secret(KEY)) == 100
    ring.keys.confirm()
    ring.clock.now = 110
    assert ring.keys.unconfirmed_s(Secret(KEY)) == 10


async def test_what_was_missed_makes_every_key_unknown(ring: Ring) -> None:
    await ring.find()
    ring.keys.drop_all()
    await ring.find()

    assert ring.asked == 2


async def test_a_failure_behind_a_call_is_not_repeated_with_each_call(ring: Ring) -> None:
    await ring.find()
    ring.clock.now = KEY_TIME_TO_LIVE_S / 2
    ring.bank.errors["AuthenticateKey"] = [ServerAway()] * 10
    for _ in range(5):
        assert await ring.find() == KNOWN
        await settle()

    assert ring.asked == 2


async def test_the_stream_tells_the_ring() -> None:
    till = Till(Bank())
    assert await till.keys.find(Secret(KEY)) == KNOWN
    till.bank.revoked = True
    revoked = edge_pb.KeyRevoked(key_id=KEY_ID)
    revoked.end_time.GetCurrentTime()
    till.hear(edge_pb.WatchResponse(key_revoked=revoked))

    assert await till.keys.find(Secret(KEY)) == problem.invalid_api_key()
