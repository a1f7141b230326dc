"""What models cost at most, and which calls meet a hard limit: the rate cards that this edge knows.

A raise takes effect two lifetimes of a card after it is written, so a card is right for as long as it lives,
and no longer: what a strict wallet pays for is never bounded by one that has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.cache import AnswerCache, Told
from om_proxy.admission.keys import Key
from om_proxy.call.bound import ModelLimits
from om_proxy.dialects.attribution import Attribution
from om_proxy.funding.grant import RatesOf
from om_proxy.funding.rates import ModelRates
from om_proxy.server.server_client import ServerClient, ServerRefused

_CARDS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Card:
    """One model on the rate card of an organization and customer."""

    rates: ModelRates
    #: Kind and id, empty for any, of what must be admitted one by one.
    selectors: frozenset[tuple[str, str]]

    def one_by_one(self, key: Key, who: Attribution) -> bool:
        """Whether a hard limit may count the call."""
        if not self.selectors:
            return False
        named = {("organization", "")}
        for kind, name in (
            ("organization", key.organization_id),
            ("team", key.team_id),
            ("key", key.key_id),
            ("customer", who.customer_id),
            ("user", who.user_id),
            ("feature", who.feature_id),
            *(("tag", tag) for tag in who.tags),
        ):
            if name:
                named |= {(kind, name), (kind, "")}
        return not self.selectors.isdisjoint(named)


#: Organization, customer, provider and model.
CardName = tuple[str, str, str, str]


class RateCards:
    """Finds cards, and what a model that only an answer names may cost."""

    def __init__(self, server: ServerClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._cards: AnswerCache[CardName, Card] = AnswerCache(_CARDS_MAX, clock)

    def known(self, key: Key, customer_id: str, *, provider: str, model: str) -> Card | None:
        """Give a card that holds, without waiting; one that ends soon is asked for again behind it."""
        name = (key.organization_id, customer_id, provider, model)
        entry = self._cards.get(name)
        if entry is None:
            return None
        now = self._clock()
        if now >= entry.refresh_at:
            self._cards.ask_behind(name, partial(self._fetch, key.key_id, name))
        return entry.value if now < entry.good_until else None

    async def find(self, key: Key, customer_id: str, *, provider: str, model: str) -> Card:
        """Give a card that holds. ServerAway or ServerRefused where there is none."""
        card = self.known(key, customer_id, provider=provider, model=model)
        if card is not None:
            return card
        name = (key.organization_id, customer_id, provider, model)
        return await self._cards.ask(name, partial(self._fetch, key.key_id, name))

    def ended(self, key: Key, customer_id: str, *, provider: str, model: str) -> Card | None:
        """Give a card that was once right: enough to tell whether a hard limit applies, not what to lease."""
        entry = self._cards.get((key.organization_id, customer_id, provider, model))
        return None if entry is None else entry.value

    def rates_of(self, key: Key, customer_id: str, *, model: str, rates: ModelRates) -> RatesOf:
        """Find what a call's lines may cost: its own model as the card was when it began.

        A model that only the answer names is not known at first. Its card is asked for behind it, for
        the next time. May be called from any thread, because a large answer is read in one.
        """
        loop = asyncio.get_running_loop()

        def find(provider: str, served: str) -> ModelRates | None:
            if served == model:
                return rates
            name = (key.organization_id, customer_id, provider, served)
            entry, now = self._cards.get(name), self._clock()
            if entry is None or now >= entry.refresh_at:
                question = partial(self._fetch, key.key_id, name)
                loop.call_soon_threadsafe(self._cards.ask_behind, name, question)
            return entry.value.rates if entry is not None and now < entry.good_until else None

        return find

    def renew(self, organization_id: str) -> None:
        """Ask again at the next use, because rates or limits have changed; empty is every organization.

        What holds goes on until then: nothing that was written just now applies before the card ends. Only
        a first price does, so what has none is forgotten.
        """
        concerned = {organization_id, ""} if organization_id else None
        self._cards.drop(lambda name, card: not card.rates.priced and _among(name[0], concerned))
        self._cards.renew(lambda name, _: _among(name[0], concerned))

    def drop_all(self) -> None:
        """Forget every card: something was missed."""
        self._cards.clear()

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._cards.close()

    async def _fetch(self, key_id: str, name: CardName) -> Told[Card]:
        _, customer_id, provider, model = name
        answer = await self._server.ask(
            self._server.edge.GetRateCard,
            edge_pb.GetRateCardRequest(
                key_id=key_id, customer_id=customer_id, provider=provider, models=[model]
            ),
        )
        if len(answer.models) != 1:
            raise ServerRefused("RATE_CARD_INCOMPLETE")
        good_for_s = answer.time_to_live.ToTimedelta().total_seconds()
        selectors = frozenset((item.scope, item.id) for item in answer.hard_limit_selectors)
        return Told(Card(_rates(answer.models[0]), selectors), good_for_s)


def _among(organization_id: str, concerned: set[str] | None) -> bool:
    return concerned is None or organization_id in concerned


def _rates(model: edge_pb.ModelRate) -> ModelRates:
    return ModelRates(
        priced=model.priced,
        per_million={rate.unit: rate.nanos_per_million for rate in model.rates},
        request_nanos=model.request_nanos,
        minimum_nanos=model.minimum_nanos,
        limits=ModelLimits(
            context_window=model.context_window or None, max_output=model.output_tokens_max or None
        ),
    )
