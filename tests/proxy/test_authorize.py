"""What is asked before a call, how long an answer is believed, and what a refusal is called."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import access_pb2
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy import problem
from om_proxy.authorize import KEY_TIME_TO_LIVE_S, UNKNOWN_KEY_TIME_TO_LIVE_S, Admission, Authorizer, Key
from om_proxy.call import Call
from om_proxy.identity import new_edge
from om_proxy.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.server_client import ServerAway, ServerClient, ServerRefused
from tests.proxy.edge import CHAT
from tests.proxy.exchange import CHAT_PATH, MESSAGES_PATH, call_of
from tests.proxy.fake_servicer import (
    AWAY,
    KEY,
    KEY_ID,
    LEASE_ID,
    LEASE_NANOS,
    SERVICE_TOKEN,
    Failure,
    FakeServer,
    fake_server,
    refused,
)
from tests.proxy.intents import WHO

NOW_S = 1_700_000_000
KNOWN = Key(KEY_ID, "org_test", test_mode=False)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """An authorizer between a clock and a server of the test's."""

    def __init__(self, server: FakeServer, client: ServerClient) -> None:
        self.server = server
        self.clock = Clock()
        self.authorizer = Authorizer(client, new_edge(), clock=self.clock, now=lambda: NOW_S + self.clock.now)

    async def key(self, secret: str = KEY) -> Key | Problem:
        return await self.authorizer.key(Secret(secret))

    async def admit(self, call: Call | None = None) -> Admission | Problem:
        call = call or call_of(CHAT_PATH, CHAT)
        question = await self.authorizer.question("evt_1", KNOWN, call=call, who=WHO)
        return question if isinstance(question, Problem) else await self.authorizer.admit(question)

    def asked(self, rpc: str) -> int:
        return self.server.asked.count(rpc)


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    async with fake_server() as server:
        client = ServerClient(server.address, SERVICE_TOKEN)
        yield Scene(server, client)
        await client.close()


async def test_a_key_is_asked_about_once_in_its_time_to_live(scene: Scene) -> None:
    assert await scene.key() == KNOWN
    scene.clock.now = KEY_TIME_TO_LIVE_S - 0.1
    assert await scene.key() == KNOWN
    assert scene.asked("AuthenticateKey") == 1

    scene.clock.now = KEY_TIME_TO_LIVE_S
    assert await scene.key() == KNOWN
    assert scene.asked("AuthenticateKey") == 2


async def test_a_key_that_ends_by_itself_is_not_believed_longer(scene: Scene) -> None:
    scene.server.expire_s = NOW_S + 5
    assert await scene.key() == KNOWN
    scene.clock.now = 4.9
    await scene.key()
    assert scene.asked("AuthenticateKey") == 1

    scene.clock.now = 5
    await scene.key()
    assert scene.asked("AuthenticateKey") == 2


async def test_a_wrong_key_is_refused_and_remembered_shortly(scene: Scene) -> None:
    assert await scene.key("om_live_wrong") == problem.invalid_api_key()
    scene.clock.now = UNKNOWN_KEY_TIME_TO_LIVE_S - 0.1
    assert await scene.key("om_live_wrong") == problem.invalid_api_key()
    assert scene.asked("AuthenticateKey") == 1

    scene.clock.now = UNKNOWN_KEY_TIME_TO_LIVE_S
    await scene.key("om_live_wrong")
    assert scene.asked("AuthenticateKey") == 2


async def test_wrong_keys_do_not_push_out_a_right_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("om_proxy.authorize._KEYS_MAX", 2)
    scene = Scene(scene.server, scene.authorizer._server)
    await scene.key()
    for number in range(5):
        await scene.key(f"om_live_wrong_{number}")
    await scene.key()

    assert scene.server.secrets.count(KEY) == 1
    assert len(scene.authorizer._wrong_keys._entries) == 2


async def test_only_a_hash_of_a_key_is_kept(scene: Scene) -> None:
    await scene.key()
    await scene.key("om_live_wrong")

    assert set(scene.authorizer._keys._entries) == {hashlib.sha256(KEY.encode()).digest()}
    held = repr([scene.authorizer._keys._entries, scene.authorizer._wrong_keys._entries])
    assert KEY not in held
    assert "om_live_wrong" not in held


async def test_keys_with_one_beginning_are_not_one_key(scene: Scene) -> None:
    assert await scene.key() == KNOWN
    assert await scene.key(KEY + "x") == problem.invalid_api_key()


@pytest.mark.parametrize(
    ("scopes", "good"),
    [
        ((), False),
        ((access_pb2.SCOPE_INGEST, access_pb2.SCOPE_READ), False),
        ((access_pb2.SCOPE_INGEST, access_pb2.SCOPE_PROXY), True),
        ((access_pb2.SCOPE_ADMIN,), True),
    ],
)
async def test_a_key_needs_the_scope_of_the_proxy(
    scene: Scene, scopes: tuple[access_pb2.Scope.ValueType, ...], *, good: bool
) -> None:
    scene.server.scopes = scopes

    assert await scene.key() == (KNOWN if good else problem.invalid_api_key())


async def test_a_server_that_is_away_makes_no_key_wrong(scene: Scene) -> None:
    scene.server.failures["AuthenticateKey"] = [AWAY, Failure(grpc.StatusCode.INTERNAL)]

    assert await scene.key() == problem.unavailable()
    assert await scene.key() == problem.unavailable()
    assert await scene.key() == KNOWN


async def test_a_wrong_service_credential_makes_no_key_wrong(scene: Scene) -> None:
    denied = Failure(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    scene.server.failures = {"AuthenticateKey": [denied], "Resync": [denied]}

    assert await scene.key() == problem.unavailable()
    assert await scene.key() == KNOWN


async def test_every_rpc_carries_the_service_credential(scene: Scene) -> None:
    await scene.authorizer.resync()
    await scene.key()
    await scene.admit()

    assert scene.server.asked == ["Resync", "AuthenticateKey", "GetRateCard", "Admit"]
    assert scene.server.credentials == {f"Bearer {SERVICE_TOKEN}"}


async def test_an_admission_says_who_asks_for_what_and_takes_the_bound(scene: Scene) -> None:
    assert await scene.admit() == Admission("wal_test", LEASE_ID, LEASE_NANOS)

    (request,) = scene.server.admit_requests
    # 83 bytes of body and 16 for a message; nine tokens at most come out; each at one nano.
    bound = len(CHAT) + 16 + 9
    assert (request.idempotency_key, request.key_id, request.max_intents) == ("evt_1", KEY_ID, 1)
    assert (request.provider, request.model, request.priced) == ("openai", "gpt-4o", True)
    assert (request.attribution.customer_id, request.attribution.user_id) == ("acme", "user_1")
    assert {request.bound_nanos, request.min_nanos, request.want_nanos} == {bound}
    assert {item.unit: item.amount for item in request.bound}["output_tokens"] == 9


async def test_a_rate_card_is_asked_for_once_in_its_time_to_live_and_for_each_model(scene: Scene) -> None:
    scene.server.card_s = 60
    await scene.admit()
    scene.clock.now = 59.9
    await scene.admit()
    assert scene.asked("GetRateCard") == 1

    await scene.admit(call_of(CHAT_PATH, CHAT.replace(b"gpt-4o", b"gpt-4o-mini")))
    assert scene.asked("GetRateCard") == 2

    scene.clock.now = 60
    await scene.admit()
    assert scene.asked("GetRateCard") == 3


async def test_a_rate_card_without_the_model_is_our_trouble(scene: Scene) -> None:
    scene.server.rates = []

    assert await scene.admit() == problem.unavailable()
    assert scene.asked("Admit") == 0


async def test_an_unpriced_model_asks_without_taking_anything(scene: Scene) -> None:
    scene.server.rates = [edge_pb.ModelRate()]
    await scene.admit()

    (request,) = scene.server.admit_requests
    assert (request.priced, request.want_nanos, request.bound_nanos) == (False, 0, 0)


async def test_a_forgotten_edge_resyncs_once_and_asks_again(scene: Scene) -> None:
    scene.server.failures["Admit"] = [refused("EDGE_NOT_RESYNCED")]

    assert isinstance(await scene.admit(), Admission)
    assert scene.server.asked == ["GetRateCard", "Admit", "Resync", "Admit"]


async def test_an_edge_that_is_forgotten_again_does_not_go_on_for_ever(scene: Scene) -> None:
    scene.server.failures["Admit"] = [refused("EDGE_NOT_RESYNCED")] * 5

    assert await scene.admit() == problem.unavailable()
    assert scene.asked("Admit") == 2


async def test_no_answer_to_an_admission_is_neither_yes_nor_no(scene: Scene) -> None:
    scene.server.failures["Admit"] = [AWAY]

    with pytest.raises(ServerAway):
        await scene.admit()


async def test_a_server_that_is_away_before_the_admission_is_unavailable(scene: Scene) -> None:
    scene.server.failures["GetRateCard"] = [AWAY]

    assert await scene.admit() == problem.unavailable()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("KEY_REVOKED", problem.invalid_api_key()),
        ("NOT_FOUND", problem.invalid_api_key()),
        ("EDGE_EPOCH_STALE", problem.unavailable()),
        ("IDEMPOTENCY_KEY_REUSED", problem.unavailable()),
        ("", problem.unavailable()),
    ],
)
async def test_an_error_of_admission_is_a_key_that_ended_or_our_trouble(
    scene: Scene, reason: str, expected: Problem
) -> None:
    scene.server.failures["Admit"] = [refused(reason)]
    with capture_logs() as logs:
        assert await scene.admit() == expected

    named = [entry["reason"] for entry in logs if entry["event"] == "server_refused"]
    assert named == ([] if expected.status == 401 else [reason or "FAILED_PRECONDITION"])


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (
            edge_pb.Refusal(
                reason=reasons.ERROR_REASON_INSUFFICIENT_FUNDS, needed_nanos=5, available_nanos=0
            ),
            problem.insufficient_credits(needed_nanos=5, available_nanos=0),
        ),
        (
            edge_pb.Refusal(
                reason=reasons.ERROR_REASON_INSUFFICIENT_FUNDS,
                needed_nanos=5,
                available_nanos=3,
                output_tokens_max=2,
            ),
            problem.insufficient_credits(needed_nanos=5, available_nanos=3, output_tokens_max=2),
        ),
        (
            edge_pb.Refusal(reason=reasons.ERROR_REASON_LIMIT_REACHED, limit_id="lim_1", window="day"),
            problem.limit_reached(limit_id="lim_1", window="day"),
        ),
        (
            edge_pb.Refusal(reason=reasons.ERROR_REASON_PRICE_UNKNOWN),
            problem.price_unknown(provider="openai", model="gpt-4o"),
        ),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_USER_WALLET_REQUIRED), problem.user_wallet_required()),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_WALLET_BLOCKED), problem.wallet_blocked()),
        (edge_pb.Refusal(reason=reasons.ERROR_REASON_INTERNAL), problem.unavailable()),
    ],
)
async def test_each_refusal_has_its_problem(
    scene: Scene, refusal: edge_pb.Refusal, expected: Problem
) -> None:
    scene.server.refusal = refusal

    assert await scene.admit() == expected


@pytest.mark.parametrize("reason", [reasons.ERROR_REASON_PRICE_UNKNOWN, reasons.ERROR_REASON_BOUND_UNKNOWN])
async def test_a_refusal_for_want_of_a_bound_names_the_field(
    scene: Scene, reason: reasons.ErrorReason.ValueType
) -> None:
    scene.server.refusal = edge_pb.Refusal(reason=reason)
    scene.server.rates[0].context_window = 0
    tool = b'"tools":[{"type":"web_search_20250305","name":"web_search"}]'
    call = call_of(MESSAGES_PATH, b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[],' + tool + b"}")

    refused_ = await scene.admit(call)

    assert isinstance(refused_, Problem)
    assert (refused_.status, refused_.code) == (402, "cost_unbounded")
    (request,) = scene.server.admit_requests
    assert request.want_nanos == 0


async def test_a_resync_tells_away_from_refused(scene: Scene) -> None:
    scene.server.failures["Resync"] = [AWAY, refused("EDGE_EPOCH_STALE")]

    with pytest.raises(ServerAway):
        await scene.authorizer.resync()
    with pytest.raises(ServerRefused, match="EDGE_EPOCH_STALE"):
        await scene.authorizer.resync()
