"""An organization's own prices over a price list: unit by unit, the latest that has begun counts.

A stored price says what its units cost; all other units keep the rate that they have beneath it. An open
price ends where a later one of the same unit begins, and applies again where that one ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from om_server.rating.model import Model
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.unit_rate import Rate

# Before and after every time that a column can hold.
_EVER, _NEVER = -(2**63), 2**63


def overlaid(beneath: Sequence[Price], stored: Sequence[Price]) -> tuple[Price, ...]:
    """Return the history of one model and tier with the stored prices over it, in order of time."""
    if not stored:
        return tuple(beneath)
    ordered = sorted(stored, key=begin_of)
    times = sorted({time for price in (*beneath, *ordered) for time in (begin_of(price), end_of(price))})
    pieces: list[Price] = []
    for begin, end in pairwise(times):
        under = next((price for price in beneath if _spans(price, begin)), None)
        over = [price for price in ordered if _spans(price, begin)]
        if over:
            piece = _merged(under, over)
        elif under is not None:
            piece = under
        else:
            continue
        piece = replace(
            piece,
            effective_from=None if begin == _EVER else begin,
            effective_to=None if end == _NEVER else end,
        )
        if pieces and pieces[-1].version == piece.version and pieces[-1].effective_to == piece.effective_from:
            piece = replace(piece, effective_from=pieces.pop().effective_from)
        pieces.append(piece)
    return tuple(pieces)


def overlaid_book(book: PriceBook, stored: Sequence[Price]) -> PriceBook:
    """Return the book with an organization's prices over it."""
    if not stored:
        return book
    by_model: dict[tuple[str, str], list[Price]] = {}
    for price in stored:
        by_model.setdefault((price.provider, price.model), []).append(price)
    histories: dict[tuple[str, str], Mapping[str, tuple[Price, ...]]] = {}
    models: list[Model] = []
    for (provider, name), prices in by_model.items():
        place = placed(book, provider, name)
        if place.added:
            models.append(place.model)
        tiers = dict(place.tiers)
        for tier in {price.tier for price in prices}:
            own = [replace(price, model=place.model.name) for price in prices if price.tier == tier]
            tiers[tier] = overlaid(tiers.get(tier, ()), own)
        histories[provider, place.model.name] = tiers
    return book.extended(histories, models)


@dataclass(frozen=True, slots=True)
class Placed:
    """The model that a price of an organization is for, and its prices by tier in the list beneath.

    `added`: the list has no such model at this provider, and may price it as another provider's.
    """

    model: Model
    tiers: Mapping[str, tuple[Price, ...]]
    added: bool


def placed(book: PriceBook, provider: str, name: str) -> Placed:
    """Find where a price for a model of a canonical provider belongs."""
    known = book.find_model(provider, name)
    if known is None:
        return Placed(Model(provider, name.strip().lower()), {}, added=True)
    tiers = book.tiers_of(known)
    if known.provider == provider:
        return Placed(known, tiers, added=False)
    own = {
        tier: tuple(replace(price, provider=provider) for price in history) for tier, history in tiers.items()
    }
    return Placed(replace(known, provider=provider), own, added=True)


def begin_of(price: Price) -> int:
    """When a price begins; since ever is before every time."""
    return _EVER if price.effective_from is None else price.effective_from


def end_of(price: Price) -> int:
    """When a price ends; never is after every time."""
    return _NEVER if price.effective_to is None else price.effective_to


def _spans(price: Price, begin: int) -> bool:
    return begin_of(price) <= begin < end_of(price)


def _merged(under: Price | None, over: Sequence[Price]) -> Price:
    """Put prices over one of the list, whatever their times; the later ones are last."""
    owners = {rate.unit: price for price in over for rate in price.rates}
    rates = [rate for price in over for rate in price.rates if owners[rate.unit] is price]
    kept = [rate for rate in under.rates if rate.unit not in owners] if under is not None else []
    used = [price for price in over if price in owners.values()]
    versions = [price.version for price in used]
    # The list beneath is named too where it says anything: by a rate, or by an alias of a unit.
    same_as = tuple(pair for pair in under.same_as if pair[0] not in owners) if under is not None else ()
    if under is not None and (kept or same_as):
        versions.append(under.version)
    return replace(
        under or over[-1],
        version="+".join(versions),
        rates=tuple(_in_list_order(rates, kept)),
        currency=over[-1].currency,
        same_as=same_as,
        # Its times say nothing here, and must not contradict those of another piece.
        effective_from=None,
        effective_to=None,
    )


def _in_list_order(rates: Sequence[Rate], kept: Sequence[Rate]) -> Iterator[Rate]:
    yield from sorted((*rates, *kept), key=lambda rate: rate.unit)
