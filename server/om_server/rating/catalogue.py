"""The price catalogue that ships with the server: reads and validates our own dated JSON format.

A file that breaks a rule is refused whole, with the place in it: another currency than dollars, negative
rates, unknown units or fields, models named twice, periods that overlap, leave gaps or are out of order.
tools/snapshot_prices.py writes the file; data/README.md says where the figures come from and whose are
missing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise

from om_server.core.errors import DomainError
from om_server.core.money import USD
from om_server.rating.model import Model
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.unit_rate import PER_MILLION, PriceInvalid, Rate

FORMAT = 1
KINDS = frozenset(
    {"chat", "completion", "embedding", "image", "moderation", "ocr", "speech", "transcription", "video"}
)

_TOP_FIELDS = frozenset(
    {"format", "version", "currency", "sources", "fallback_providers", "models", "omitted"}
)
_MODEL_FIELDS = frozenset(
    {
        "provider",
        "model",
        "aliases",
        "stems",
        "kinds",
        "context_window",
        "output_tokens_max",
        "reasons",
        "same_as",
        "defaults",
        "source",
        "checked",
        "prices",
    }
)
_PRICE_FIELDS = frozenset({"tier", "from", "to", "currency", "rates"})
_RATE_FIELDS = frozenset({"price", "per", "when", "above"})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What one catalogue file says."""

    version: str
    prices: tuple[Price, ...]
    models: tuple[Model, ...]
    fallback_providers: Mapping[str, tuple[str, ...]]

    def book(self) -> PriceBook:
        """Return the price book of this catalogue."""
        return PriceBook(self.prices, models=self.models, fallback_providers=self.fallback_providers)


def load_catalogue() -> Catalogue:
    """Read the catalogue that ships in this package."""
    return read_catalogue((resources.files(__package__) / "data" / "catalogue.json").read_text("utf-8"))


def read_catalogue(text: str) -> Catalogue:
    """Read a catalogue; PRICE_INVALID names the place of the first rule that is broken."""
    try:
        raw = json.loads(text, object_pairs_hook=_named_once)
    except ValueError as error:
        raise PriceInvalid("catalogue", "not JSON") from error
    top = _object(raw, "catalogue", known=_TOP_FIELDS)
    if top.get("format") != FORMAT:
        raise PriceInvalid("format", f"this server reads format {FORMAT}")
    # Said once in the file, so that figures of another price list cannot be read as dollars.
    _require_dollars(top.get("currency"), "currency")
    version = _text(top.get("version"), "version")
    prices: list[Price] = []
    models: dict[tuple[str, str], Model] = {}
    for entry in _list(top.get("models"), "models"):
        fields = _object(entry, "models", known=_MODEL_FIELDS)
        model = _model(fields)
        if models.setdefault((model.provider, model.name), model) is not model:
            raise PriceInvalid(f"{model.provider}/{model.name}", "the model is named twice")
        prices.extend(_prices(fields, model, version=version))
    _require_adjoining(prices)
    fallbacks = {
        provider: _texts(names, f"fallback_providers.{provider}")
        for provider, names in _object(top.get("fallback_providers", {}), "fallback_providers").items()
    }
    catalogue = Catalogue(version, tuple(prices), tuple(models.values()), fallbacks)
    # The book refuses names that two models claim.
    catalogue.book()
    return catalogue


def _model(fields: Mapping[str, object]) -> Model:
    provider = _text(fields.get("provider"), "models.provider")
    name = _text(fields.get("model"), f"{provider}.model")
    place = f"{provider}/{name}"
    kinds = _texts(fields.get("kinds", []), f"{place}.kinds")
    if not KINDS.issuperset(kinds):
        raise PriceInvalid(f"{place}.kinds", "an unknown kind")
    reasons = fields.get("reasons")
    if not isinstance(reasons, bool | None):
        raise PriceInvalid(f"{place}.reasons", "not true, false or null")
    _midnight(fields.get("checked"), f"{place}.checked")
    return Model(
        provider=provider,
        name=name,
        aliases=_texts(fields.get("aliases", []), f"{place}.aliases"),
        stems=_texts(fields.get("stems", []), f"{place}.stems"),
        kinds=kinds,
        context_window=_count(fields.get("context_window"), f"{place}.context_window"),
        output_tokens_max=_count(fields.get("output_tokens_max"), f"{place}.output_tokens_max"),
        reasons=reasons,
    )


def _prices(fields: Mapping[str, object], model: Model, *, version: str) -> Iterable[Price]:
    place = f"{model.provider}/{model.name}"
    same_as = _pairs(fields.get("same_as", {}), f"{place}.same_as")
    defaults = _pairs(fields.get("defaults", {}), f"{place}.defaults")
    for entry in _list(fields.get("prices"), f"{place}.prices"):
        row = _object(entry, f"{place}.prices", known=_PRICE_FIELDS)
        tier = _text(row.get("tier"), f"{place}.tier")
        _require_dollars(row.get("currency", USD), f"{place}.currency")
        begin = row.get("from")
        name = f"{version}/{place}/{tier}/{begin or 'origin'}"
        try:
            yield Price(
                version=name,
                provider=model.provider,
                model=model.name,
                rates=tuple(_rates(row.get("rates"), place)),
                tier=tier,
                effective_from=_midnight(begin, f"{place}.from"),
                effective_to=_midnight(row.get("to"), f"{place}.to"),
                same_as=same_as,
                attribute_defaults=defaults,
            )
        except DomainError as error:
            # A rate knows its rule, not where it stands.
            raise PriceInvalid(name, error.message) from error


def _rates(raw: object, place: str) -> Iterable[Rate]:
    for unit, value in _object(raw, f"{place}.rates").items():
        where = f"{place}.rates.{unit}"
        for variant in value if isinstance(value, list) else [value]:
            fields = (
                {"price": variant}
                if isinstance(variant, str)
                else _object(variant, where, known=_RATE_FIELDS)
            )
            per = _count(fields.get("per", PER_MILLION), f"{where}.per") or 0
            when = _pairs(fields.get("when", {}), f"{where}.when")
            yield Rate(unit, _text(fields.get("price"), where), per, when)
            for threshold, price in _object(fields.get("above", {}), f"{where}.above").items():
                if not threshold.isdecimal():
                    raise PriceInvalid(f"{where}.above", "a threshold is a whole number of tokens")
                yield Rate(unit, _text(price, where), per, when, int(threshold))


def _require_adjoining(prices: Iterable[Price]) -> None:
    """Each tier of a model has one history in order of time: a price starts where the last one ends."""
    histories: dict[tuple[str, str, str], list[Price]] = {}
    for price in prices:
        histories.setdefault((price.provider, price.model, price.tier), []).append(price)
    for history in histories.values():
        for earlier, later in pairwise(history):
            ends, starts = earlier.effective_to, later.effective_from
            if starts is None or (earlier.effective_from is not None and starts <= earlier.effective_from):
                raise PriceInvalid(
                    later.version, f"it is out of order: it does not start after {earlier.version}"
                )
            if ends is None or starts < ends:
                raise PriceInvalid(later.version, f"it overlaps with {earlier.version}")
            if starts > ends:
                raise PriceInvalid(later.version, f"there is a gap after {earlier.version}")


def _require_dollars(raw: object, place: str) -> None:
    if raw != USD:
        raise PriceInvalid(
            place, f"the prices of a catalogue are in {USD}, not in {raw or 'an unnamed currency'}"
        )


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its fields. JSON would quietly keep the last of two rates for a unit."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise PriceInvalid("catalogue", f"an object names {twice} twice")
    return made


def _object(raw: object, place: str, *, known: frozenset[str] | None = None) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise PriceInvalid(place, "not an object")
    unknown = set(raw) - known if known is not None else set()
    if unknown:
        raise PriceInvalid(place, f"unknown field {min(unknown)}")
    return raw


def _list(raw: object, place: str) -> list[object]:
    if not isinstance(raw, list):
        raise PriceInvalid(place, "not a list")
    return raw


def _text(raw: object, place: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise PriceInvalid(place, "not a text, or empty")
    return raw


def _texts(raw: object, place: str) -> tuple[str, ...]:
    return tuple(_text(item, place) for item in _list(raw, place))


def _pairs(raw: object, place: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, _text(value, place)) for name, value in _object(raw, place).items()))


def _count(raw: object, place: str) -> int | None:
    if raw is None:
        return None
    if type(raw) is not int or raw < 1:
        raise PriceInvalid(place, "not a positive whole number")
    return raw


def _midnight(raw: object, place: str) -> int | None:
    if raw is None:
        return None
    try:
        day = datetime.strptime(_text(raw, place), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise PriceInvalid(place, "not a date") from error
    return int(day.timestamp()) * 1_000_000
