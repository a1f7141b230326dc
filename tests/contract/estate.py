"""Two organizations on one real server, and a request of each for every RPC of the contract.

The requests are data (examples.yaml); what they name is made here, anew for each request, because many
RPCs use up what they name.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from om_server import wiring
from om_server.account.keys.key import KeyWish
from om_server.account.people.member import Role
from om_server.account.people.sign_in import SignUp
from om_server.account.store import AccountStore
from om_server.core.clock import system_clock
from om_server.core.event import Attribution, Event, EventType, UsageLine
from om_server.core.usage import Usage
from om_server.ingestion import envelope
from om_server.ingestion.store import DeadLetter
from om_server.rpc.caller import Principal, Scope
from om_server.rpc.contract import Rpc
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.wallet import Owner, OwnerKind
from tests.contract.calling import Answer, Caller
from tests.contract.postbox import URL, Postbox
from tests.oidc_provider import Provider, running_provider
from tests.rpc import SERVICE_TOKEN, serving
from tests.server.account.people.house import CHEAP, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from om_server.account.keys.key import NewKey
    from om_server.storage.database import Database
    from om_server.wiring import Platform

CREDIT = 10**9
_GRANTED = 1_000_000 * CREDIT
_LINE = {
    "provider": "openai",
    "model": "gpt-4o",
    "usage": {"quantities": [{"unit": "input_tokens", "amount": 5, "certainty": "CERTAINTY_MEASURED"}]},
}

EXAMPLES: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "examples.yaml").read_text())

#: Placeholders that name an object of one organization: another's must be like one that nobody has.
IDENTITIES = frozenset(
    {
        "burn_table_id",
        "dead_letter_id",
        "entitlement_id",
        "event_id",
        "hold_id",
        "invite_id",
        "key_id",
        "lost_lease_id",
        "member_id",
        "prompt_key",
        "suspense_id",
        "team_id",
        "user_id",
        "user_wallet_id",
        "wallet_id",
    }
)

_PLACEHOLDER = re.compile(r"\$([a-z_]+)")
_numbers = itertools.count(1)


def identities_of(path: str) -> list[str]:
    """Return the placeholders of an example that name objects of an organization."""
    return sorted(set(_PLACEHOLDER.findall(repr(EXAMPLES.get(path)))) & IDENTITIES)


@dataclass
class Estate:
    """A running server."""

    platform: Platform
    caller: Caller
    mail: Postbox
    provider: Provider | None = None

    def call(self, rpc: Rpc, request: dict[str, Any], secret: str) -> Answer:
        """Call an RPC with a filled example."""
        endless = bool(EXAMPLES[rpc.path].get("endless"))
        return self.caller.call(rpc.path, request, secret=secret, endless=endless)


@contextlib.contextmanager
def estate_on(database: Database) -> Iterator[Estate]:
    """Serve everything over a migrated database."""
    mail = Postbox()
    with running_provider() as provider, _served(database, mail, provider) as estate:
        yield estate


@contextlib.contextmanager
def _served(database: Database, mail: Postbox, provider: Provider) -> Iterator[Estate]:
    people = wiring.PeopleSettings(
        mail, URL, sign_up_open=True, password_cost=CHEAP, oidc=provider.client(f"{URL}/callback")
    )
    platform = wiring.build(database, people=people)
    try:
        with serving(platform.servicers, platform.authenticator) as channel:
            yield Estate(platform, Caller(channel), mail, provider)
    finally:
        platform.stop()


@dataclass
class Tenant:
    """An organization with an owner and a member. Whatever people can name has `word` in its name."""

    estate: Estate
    word: str
    organization_id: str = ""
    owner_id: str = ""
    _team_id: str = ""
    _wallet_id: str = ""
    _keys: dict[Scope, NewKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sign_up = SignUp(self._email("owner"), self.word, self.word, PASSWORD)
        session = self._platform.people.entrance.sign_up(sign_up)
        self.organization_id, self.owner_id = session.organization.organization_id, session.member.member_id
        self._team_id = self.make_team_id()
        deposit = Deposit(Owner.of(self.organization_id, OwnerKind.ORGANIZATION), _GRANTED, "first")
        self._wallet_id = self._platform.wallet.grant_credits(self.organization_id, deposit).wallet.wallet_id
        self._join(self._email("member"))

    @property
    def _platform(self) -> Platform:
        return self.estate.platform

    def _email(self, role: str) -> str:
        return f"{role}-{self.word}@example.com"

    def key(self, scope: Scope) -> NewKey:
        """Return the tenant's key with this scope and no other."""
        if scope not in self._keys:
            self._keys[scope] = self.new_key(scope)
        return self._keys[scope]

    def new_key(self, *scopes: Scope, expire_time: int | None = None) -> NewKey:
        wish = KeyWish(self._team_id, f"key of {self.word}", frozenset(scopes), expire_time=expire_time)
        return self._platform.account.create_key(self.organization_id, wish)

    def ended_key(self, *scopes: Scope) -> NewKey:
        """Return a key whose time is over."""
        made = self.new_key(*scopes, expire_time=system_clock() + 60_000_000)
        life = replace(made.key.life, expire_time=1)
        store = AccountStore(self._platform.database)
        assert self._platform.database.write(lambda: store.replace_life(made.key, life=life))
        return made

    def credential(self, principal: Principal, scope: Scope | None = None) -> str:
        """Return the secret of a caller of this kind, of a person that of a new session."""
        match principal:
            case Principal.KEY:
                return self.key(scope or Scope.READ).secret
            case Principal.SERVICE:
                return SERVICE_TOKEN
            case Principal.ANONYMOUS:
                return ""
        email = self._email(principal.value)
        return self._platform.people.entrance.sign_in(email, PASSWORD).secret

    def request(self, path: str, given: Mapping[str, object] | None = None) -> Any:
        """Return the request of an example; `given` stand for objects that are not to be this tenant's."""
        return self._filled(EXAMPLES[path]["request"], {"n": next(_numbers), **(given or {})})

    def filled(self, part: Any) -> Any:
        """Return a request of another list with its placeholders filled."""
        return self._filled(part, {"n": next(_numbers)})

    def make(self, name: str) -> object:
        """Make what a placeholder stands for."""
        return getattr(self, f"make_{name}")()

    def _filled(self, part: Any, made: dict[str, object]) -> Any:
        if isinstance(part, dict):
            return {name: self._filled(value, made) for name, value in part.items()}
        if isinstance(part, list):
            return [self._filled(value, made) for value in part]
        if not isinstance(part, str):
            return part
        whole = _PLACEHOLDER.fullmatch(part)
        if whole:
            return self._object(whole[1], made)
        return _PLACEHOLDER.sub(lambda found: str(self._object(found[1], made)), part)

    def _object(self, name: str, made: dict[str, object]) -> object:
        if name not in made:
            made[name] = self._lease(made["resynced_edge"]) if name == "lease_of_edge" else self.make(name)
        return made[name]

    def _ask(self, path: str, request: dict[str, Any]) -> Any:
        """Make something as the tenant does, with a key that may."""
        return self.estate.caller.call(path, request, secret=self.key(Scope.ADMIN).secret).reply

    def make_credit(self) -> object:
        return {"currency_code": "CREDITS", "amount_nanos": str(CREDIT)}

    def make_line(self) -> object:
        return _LINE

    def make_password(self) -> str:
        return PASSWORD

    def make_email(self) -> str:
        return self._email("owner")

    def make_oidc_callback(self) -> object:
        """What the browser of somebody without an account brings back from the provider."""
        provider = self.estate.provider
        assert provider is not None
        provider.reset()
        begun = self.estate.caller.call("om.account.v1.OidcService/StartOidcSignIn", {}).reply
        back = provider.come_back(begun.authorization_url)
        return {"flow": begun.flow, "state": back["state"], "code": back["code"], "issuer": back["iss"]}

    def make_team_id(self) -> str:
        name = f"{self.word} {next(_numbers)}"
        return self._platform.account.create_team(self.organization_id, name).team_id

    def make_key_id(self) -> str:
        return self.new_key().key.key_id

    def make_secret(self) -> str:
        return self.new_key().secret

    def make_wallet_id(self) -> str:
        return self._wallet_id

    def make_user_wallet_id(self) -> str:
        request = {"owner": {"kind": "OWNER_KIND_USER", "id": f"{self.word}-{next(_numbers)}"}}
        request |= {"amount": self.make_credit(), "idempotency_key": f"user-{next(_numbers)}"}  # type: ignore[dict-item] # JSON.
        return str(self._ask("om.wallet.v1.WalletService/GrantCredits", request).wallet.wallet_id)

    def make_funded_user_id(self) -> str:
        user_id = f"{self.word}-{next(_numbers)}"
        deposit = Deposit(Owner(OwnerKind.USER, user_id), CREDIT, f"funded-{user_id}")
        self._platform.wallet.grant_credits(self.organization_id, deposit)
        return user_id

    def make_hold_id(self) -> str:
        return str(self._made("om.wallet.v1.WalletService/CreateHold").hold.hold_id)

    def make_entitlement_id(self) -> str:
        request = self.request("om.wallet.v1.EntitlementService/CreateEntitlement")
        request["entitlement"] |= {"user_id": "user-1", "team_id": "", "key_id": ""}
        found = self._ask("om.wallet.v1.EntitlementService/CreateEntitlement", request)
        return str(found.entitlement.entitlement_id)

    def make_burn_table_id(self) -> str:
        return str(self._made("om.rating.v1.RatingService/CreateBurnTable").burn_table.burn_table_id)

    def make_prompt_key(self) -> str:
        prompt_key = f"{self.word}-{next(_numbers)}"
        self._ask("om.prompt.v1.PromptService/CreatePrompt", {"prompt": {"prompt_key": prompt_key}})
        self._made("om.prompt.v1.PromptService/CreateVersion", {"prompt_key": prompt_key})
        return prompt_key

    def make_user_id(self) -> str:
        user_id = f"{self.word}-{next(_numbers)}"
        self._ask("om.account.v1.AccountService/CreateUser", {"user": {"user_id": user_id}})
        return user_id

    def make_event_id(self) -> str:
        """An event that was charged."""
        event_id = f"{self.word}-{next(_numbers)}"
        events = [{"event_id": event_id, "lines": [_LINE]}]
        self._ask("om.ingestion.v1.IngestionService/IngestEvents", {"events": events})
        while self._platform.worker.settle_once():
            pass
        return event_id

    def make_dead_letter_id(self) -> str:
        letter_id, event_id = self._platform.ids.new("dlq"), f"{self.word}-{next(_numbers)}"
        event = Event(
            organization_id=self.organization_id,
            source="api",
            event_id=event_id,
            event_type=EventType.TOKEN_USAGE,
            event_time=1,
            receive_time=1,
            attribution=Attribution(team_id=self._team_id),
            lines=(UsageLine("openai", "gpt-4o", Usage.measured(input_tokens=1)),),
            payload_hash="h",
        )
        letter = {
            "organization_id": self.organization_id,
            "dead_letter_id": letter_id,
            "source": "api",
            "event_id": event_id,
            "reason": "INTERNAL",
            "message": "",
            "attempt_count": 1,
            "envelope": envelope.pack([event]),
            "receive_time": 1,
            "create_time": 1,
        }
        self._platform.database.write(lambda: DeadLetter.insert(letter).execute())
        return letter_id

    def make_edge(self) -> dict[str, object]:
        return {"edge_id": self._platform.ids.new("edg"), "edge_epoch": 1, "instance": "process-one"}

    def make_resynced_edge(self) -> dict[str, object]:
        edge = self.make_edge()
        self._platform.wallet.resync(_identity(edge), Past("boot"))
        return edge

    def make_lost_lease_id(self) -> str:
        """A lease whose edge came back without its journal."""
        edge = self.make_resynced_edge()
        lease_id = self._lease(edge)
        self._platform.wallet.resync(_identity({**edge, "edge_epoch": 2}), Past("another", clean=False))
        return lease_id

    def make_suspense_id(self) -> str:
        secret = self.credential(Principal.OWNER)
        request = self.request("om.wallet.v1.WalletService/ResolveLease")
        assert not self.estate.caller.call(
            "om.wallet.v1.WalletService/ResolveLease", request, secret=secret
        ).reason
        found = self._ask("om.wallet.v1.WalletService/ListSuspense", {"page_size": 200})
        return str(found.suspense[-1].suspense_id)

    def make_member_id(self) -> str:
        return self._join(f"guest-{next(_numbers)}@example.com")

    def make_invite_id(self) -> str:
        members = self._platform.people.members
        email = f"guest-{next(_numbers)}@example.com"
        return members.create_invite(self.organization_id, email, role=Role.MEMBER).invite_id

    def make_invite_secret(self) -> str:
        email = f"guest-{next(_numbers)}@example.com"
        self._platform.people.members.create_invite(self.organization_id, email, role=Role.MEMBER)
        return self.estate.mail.secret(email, "join")

    def make_reset_secret(self) -> str:
        """From the mail to somebody new, since an address is only written so often."""
        email = f"guest-{next(_numbers)}@example.com"
        self._join(email)
        self._platform.people.resets.request(email)
        return self.estate.mail.secret(email, "reset")

    def _made(self, path: str, given: Mapping[str, object] | None = None) -> Any:
        return self._ask(path, self.request(path, given))

    def _join(self, email: str) -> str:
        people = self._platform.people
        people.members.create_invite(self.organization_id, email, role=Role.MEMBER)
        secret = self.estate.mail.secret(email, "join")
        session = people.entrance.accept_invite(secret, password=PASSWORD, display_name=self.word)
        return session.member.member_id

    def _lease(self, edge: object) -> str:
        assert isinstance(edge, dict)
        request = LeaseRequest(
            wallet_id=self._wallet_id,
            edge=_identity(edge),
            admit_key=f"admit-{next(_numbers)}",
            request_hash="",
            min_nanos=CREDIT,
            want_nanos=CREDIT,
            max_intents=0,
        )
        lease = self._platform.wallet.open_lease(self.organization_id, request)
        assert lease is not None
        return lease.lease_id


def _identity(edge: Mapping[str, Any]) -> EdgeIdentity:
    return EdgeIdentity(edge["edge_id"], edge["edge_epoch"], edge["instance"])
