"""The one admission path: decides before a call who pays for it, and sets the money aside.

A refusal is an answer, not an error. The decision who pays is made here once; settlement charges
the wallet that the event names and never decides again.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from om_server.account.keys.key import KeyRevoked
from om_server.core.errors import DomainError, NotFound
from om_server.pipeline.estimate import (
    Asker,
    BoundUnknown,
    Estimate,
    PriceUnknown,
    UserWalletRequired,
    subject_of,
)
from om_server.pipeline.limit_check import Passage
from om_server.rating.unit_rate import PER_MILLION
from om_server.wallet.leases.lease import Lease, LeaseRequest
from om_server.wallet.ledger import InsufficientFunds, WalletBlocked
from om_server.wallet.limits.limit import CREDITS, LimitReached
from om_server.wallet.wallet import OwnerKind, WalletMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from om_server.account.keys.key import KeyOwner
    from om_server.account.operations import AccountOperations
    from om_server.core.clock import Clock
    from om_server.core.event import Attribution
    from om_server.pipeline.limit_check import LimitCheck
    from om_server.rating.operations import RatingOperations
    from om_server.rating.rate_card import RateCard
    from om_server.storage.database import Database
    from om_server.wallet.leases.lease import EdgeIdentity
    from om_server.wallet.leases.leasing import Opened
    from om_server.wallet.limits.limit import Standing
    from om_server.wallet.operations import WalletOperations
    from om_server.wallet.wallet import Wallet

_OUTPUT = "output_tokens"


class FundingMode(enum.Enum):
    """How a call is funded."""

    NO_WALLET = "no_wallet"
    STRICT = "strict"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A call as an edge bounds it, in the units' steps and in nano-credits at the rate card's rates."""

    edge: EdgeIdentity
    admit_key: str
    key_id: str
    attribution: Attribution
    provider: str
    model: str
    bound: Mapping[str, int]
    bound_nanos: int
    min_nanos: int
    want_nanos: int
    max_intents: int
    priced: bool

    @property
    def request_hash(self) -> str:
        """What a repeat under the same key must equal: a lease is for one life of one edge alone."""
        attribution = self.attribution
        fields = [
            self.edge.edge_id, self.edge.edge_epoch, self.key_id,
            attribution.customer_id, attribution.user_id, attribution.feature_id,
            attribution.tags,
            self.provider, self.model, sorted(self.bound.items()), self.bound_nanos, self.min_nanos,
            self.want_nanos, self.max_intents, self.priced,
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(fields)).hexdigest()

    @property
    def estimate(self) -> Estimate:
        """What it asks of limits. A bound without units says that there is none."""
        charge = max(self.bound_nanos, self.min_nanos) if self.priced else None
        return Estimate(self.provider, self.model, charge, quantities=self.bound or None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, in numbers. `output_tokens_max` is the largest cap that the wallet affords."""

    error: DomainError
    needed: int = 0
    available: int | None = None
    output_tokens_max: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to an admission request."""

    organization_id: str
    funding_mode: FundingMode
    wallet_id: str = ""
    lease: Lease | None = None
    refusal: Refusal | None = None
    available: int | None = None
    resolution_version: int = 0
    #: The soft limits that the call passes, those that will be passed longest first.
    warnings: tuple[Standing, ...] = ()


class Admission:
    """Composes accounts, rating, wallets and limits into one decision, in one transaction."""

    def __init__(  # noqa: PLR0913 - the parts of one decision, named by the composition root
        self,
        database: Database,
        *,
        account: AccountOperations,
        wallet: WalletOperations,
        rating: RatingOperations,
        limits: LimitCheck,
        clock: Clock,
    ) -> None:
        self._database = database
        self._account = account
        self._wallet = wallet
        self._rating = rating
        self._limits = limits
        self._clock = clock

    def admit(self, request: AdmissionRequest) -> Decision:
        """Decide. Errors: the edge's epoch, an unknown or revoked key, a reused admit key."""
        if request.want_nanos == 0:
            return self._database.read(lambda: self._admit(request))
        return self._database.write(lambda: self._admit(request))

    def check(self, asker: Asker, request: AdmissionRequest, estimate: Estimate) -> Decision:
        """Decide what would be decided now, for a caller who is known, without taking or storing anything."""

        def read() -> Decision:
            organization = self._account.get_organization(asker.organization_id)
            required = organization.user_wallet_required
            return self._decide(asker, request, estimate, user_wallet_required=required)

        return self._database.read(read)

    def rate_card(self, key_id: str, customer_id: str, *, provider: str, models: list[str]) -> RateCard:
        """The dearest rates under the burn table of the key's organization. NOT_FOUND for the key."""
        owner = self._database.read(lambda: self._owner(key_id))
        return self._rating.rate_card(owner.organization_id, customer_id, provider=provider, models=models)

    def hard_scopes(self, key_id: str, customer_id: str) -> tuple[tuple[str, str], ...]:
        """By which kinds and ids an edge tells what must be admitted one by one. NOT_FOUND for the key."""
        owner = self._database.read(lambda: self._owner(key_id))
        return self._limits.scopes(owner.organization_id, customer_id)

    def _admit(self, request: AdmissionRequest) -> Decision:
        self._wallet.require_current(request.edge)
        owner = self._owner(request.key_id)
        asker, required = Asker(owner.organization_id, owner.team_id), owner.user_wallet_required
        return self._decide(asker, request, request.estimate, user_wallet_required=required)

    def _decide(
        self, asker: Asker, request: AdmissionRequest, estimate: Estimate, *, user_wallet_required: bool
    ) -> Decision:
        organization_id, team_id = asker.organization_id, asker.team_id
        wallet, version = self._wallet.resolve(
            organization_id,
            user_id=request.attribution.user_id,
            customer_id=request.attribution.customer_id,
            team_id=team_id,
        )
        refusal: Refusal | None = None
        opened: Opened | None = None
        passage = Passage()
        try:
            if user_wallet_required:
                _require_user_wallet(wallet)
            subject = subject_of(request.attribution, team_id=team_id, key_id=request.key_id)
            passage = self._limits.passage(organization_id, subject, estimate, asking=not request.want_nanos)
            if wallet is not None or passage.reserves:
                opened = self._take(organization_id, wallet, passage, request)
        except (WalletBlocked, PriceUnknown, BoundUnknown, UserWalletRequired) as error:
            refusal = Refusal(error)
        except LimitReached as error:
            refusal = _passes_limit(error, estimate)
        except InsufficientFunds as error:
            refusal = self._cannot_pay(organization_id, error, request)
            if request.want_nanos and wallet is not None:
                # The edge asks again when neighbours have had the time to give back what is idle.
                self._wallet.recall_leases(organization_id, wallet.wallet_id)
        if opened is not None:
            wallet = opened.wallet
        return Decision(
            organization_id=organization_id,
            funding_mode=FundingMode(wallet.mode) if wallet else FundingMode.NO_WALLET,
            wallet_id=wallet.wallet_id if wallet else "",
            lease=opened.lease if opened else None,
            refusal=refusal,
            available=None if refusal or wallet is None else wallet.available,
            resolution_version=version,
            warnings=() if refusal else passage.warnings,
        )

    def _owner(self, key_id: str) -> KeyOwner:
        owner = self._account.keys_by_id([key_id]).get(key_id)
        if owner is None:
            raise NotFound("key", key_id)
        if owner.ended(self._clock()):
            raise KeyRevoked(key_id)
        return owner

    def _take(
        self, organization_id: str, wallet: Wallet | None, passage: Passage, request: AdmissionRequest
    ) -> Opened:
        """Lease what is wanted, or only look whether the least is there."""
        if wallet is not None and wallet.mode is WalletMode.STRICT and not request.priced:
            raise PriceUnknown(request.provider, request.model)
        want = request.want_nanos
        if passage.reserves:
            # What is reserved of a limit is for one call, and a longer stream asks again.
            want = max(1, min(want, max(request.bound_nanos, request.min_nanos)))
        return self._wallet.fund(
            organization_id,
            LeaseRequest(
                wallet_id=wallet.wallet_id if wallet else "",
                edge=request.edge,
                admit_key=request.admit_key,
                request_hash=request.request_hash,
                min_nanos=request.min_nanos,
                want_nanos=want,
                max_intents=1 if passage.reserves else request.max_intents,
                alone=wallet is None or not wallet.overflow_wallet_id,
            ),
            gate=passage.gate,
        )

    def _cannot_pay(
        self, organization_id: str, error: InsufficientFunds, request: AdmissionRequest
    ) -> Refusal:
        return Refusal(
            error,
            needed=error.needed,
            available=error.available,
            output_tokens_max=self._affordable_output(organization_id, error.available, request),
        )

    def _affordable_output(
        self, organization_id: str, available: int, request: AdmissionRequest
    ) -> int | None:
        """How many output tokens fit beside the rest of the bound; None if not even one does."""
        card = self._rating.rate_card(
            organization_id,
            request.attribution.customer_id,
            provider=request.provider,
            models=[request.model],
        )
        rate = card.models[0].rates.get(_OUTPUT, 0) if card.models else 0
        output = request.bound.get(_OUTPUT, 0)
        if not rate or not output:
            return None
        rest = request.bound_nanos + -output * rate // PER_MILLION
        return largest_output(available, rest, rate=rate, output=output)


def _require_user_wallet(wallet: Wallet | None) -> None:
    if wallet is None or wallet.owner.kind is not OwnerKind.USER:
        raise UserWalletRequired


def _passes_limit(error: LimitReached, estimate: Estimate) -> Refusal:
    standing = error.standing
    in_credits = standing.demand.limit.unit == CREDITS
    return Refusal(
        error,
        needed=estimate.charge or 0,
        available=max(standing.remaining or 0, 0) if in_credits else None,
    )


def largest_output(available: int, rest: int, *, rate: int, output: int) -> int | None:
    """The most tokens, up to `output`, that fit beside the rest of the bound; None if not one does.

    The rate is in nano-credits for a million tokens, and a bound is rounded up to a nano.
    """
    affordable = (available - rest) * PER_MILLION // rate
    return min(affordable, output) if affordable > 0 else None
