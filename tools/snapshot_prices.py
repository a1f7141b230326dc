"""Write the price catalogue from the genai-prices package and our own supplement; --check only compares.

Run from the repository's root after changing the pinned version or data/supplement.json, whose version
dates the catalogue. Reads nothing from the network. Dated prices, service tiers and context tiers come
over as they are; what our format cannot say is left out and listed under "omitted", never rounded off.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import data
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

DATA = Path(__file__).parent.parent / "server" / "om_server" / "rating" / "data"
CATALOGUE = DATA / "catalogue.json"
SUPPLEMENT = DATA / "supplement.json"

PROVIDERS = (
    "anthropic",
    "aws",
    "azure",
    "cohere",
    "deepseek",
    "google",
    "groq",
    "mistral",
    "openai",
    "openrouter",
    "x-ai",
)

MILLION = 1_000_000
# Price key of the package: our unit, and the steps that the price is for (seconds are milliseconds).
UNITS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input_tokens", MILLION),
    "cache_read_mtok": ("cache_read_tokens", MILLION),
    "cache_write_mtok": ("cache_write_tokens", MILLION),
    "cache_write_1h_mtok": ("cache_write_1h_tokens", MILLION),
    "input_audio_mtok": ("audio_input_tokens", MILLION),
    "cache_audio_read_mtok": ("audio_cache_read_tokens", MILLION),
    "input_image_mtok": ("image_input_tokens", MILLION),
    "cache_image_read_mtok": ("image_cache_read_tokens", MILLION),
    "input_video_mtok": ("video_input_tokens", MILLION),
    "output_mtok": ("output_tokens", MILLION),
    "output_audio_mtok": ("audio_output_tokens", MILLION),
    "output_image_mtok": ("image_output_tokens", MILLION),
    "output_video_mtok": ("video_output_tokens", MILLION),
    "audio_hours": ("audio_seconds", 3_600_000),
    "input_audio_hours": ("audio_seconds", 3_600_000),
    "input_mchars": ("characters", MILLION),
    "input_document_kpages": ("pages", 1_000),
    "input_annotated_document_kpages": ("annotated_pages", 1_000),
    "web_searches_kcount": ("web_searches", 1_000),
    "storage_searches_kcount": ("file_searches", 1_000),
}

# Our tier: the request context under which the package selects its variant. OpenAI's "fast" is its
# "priority" by another name (checked below), so it has no row of its own.
TIERS: Mapping[str, dict[str, str]] = {
    "standard": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"speed": "fast"},
}

# Free by the provider's own price page, which the package says with an empty price.
FREE = frozenset(
    {
        ("google", "gemma-3"),
        ("google", "gemma-3n"),
        ("google", "gemma-4-26b-a4b-it"),
        ("google", "gemma-4-31b-it"),
        ("openai", "moderation"),
    }
)
# Their audio had a price that the package does not list, so it must stay unpriced.
SEPARATE_AUDIO = frozenset({"gemini-2.5-flash-preview"})
# A fragment, and a model of other limits than the one that the package files it under.
NO_NAMES = frozenset({"gemini-2.0-flash-0", "gemini-2.0-flash-thinking"})

# The end of a longer name: too little to be a name itself.
FRAGMENT = re.compile(r"^/|[-@.:/]$|-20[0-9]{2}$")
EVER = date(1970, 1, 1)


class OmittedError(Exception):
    """Our format cannot say what the package says of a model."""


@dataclass
class Entry:
    """One model of the catalogue, in the order of its fields in the file."""

    provider: str
    model: str
    aliases: set[str] = field(default_factory=set)
    stems: set[str] = field(default_factory=set)
    kinds: list[str] = field(default_factory=list)
    context_window: int | None = None
    output_tokens_max: int | None = None
    reasons: bool | None = None
    same_as: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    source: str = ""
    # The day on which figures of the supplement were last compared with their source.
    checked: str = ""
    prices: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        values = {
            name: sorted(value) if isinstance(value, set) else value for name, value in vars(self).items()
        }
        return {name: value for name, value in values.items() if value not in (None, "", [], {})}

    def units(self) -> set[str]:
        """Return the units that any price of the model names."""
        return {unit for price in self.prices for unit in price["rates"]}


def main() -> int:
    """Write the catalogue, or tell whether it is as it would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file would change")
    check = parser.parse_args().check
    text = snapshot(SUPPLEMENT.read_text("utf-8"))
    if not check:
        CATALOGUE.write_text(text, "utf-8")
    elif CATALOGUE.read_text("utf-8") != text:
        print("the catalogue is out of date: run tools/snapshot_prices.py")
        return 1
    return 0


def snapshot(supplement: str) -> str:
    """Return the text of the catalogue file."""
    overlay = json.loads(supplement)
    providers = {provider.id: provider for provider in data.providers if provider.id in PROVIDERS}
    entries: dict[tuple[str, str], Entry] = {}
    omitted: list[dict[str, Any]] = []
    for name in PROVIDERS:
        for model in providers[name].models:
            try:
                entry = read_model(name, model)
            except OmittedError as reason:
                omitted.append({"provider": name, "model": model.id, "reason": str(reason)})
            else:
                entries[name, entry.model] = entry
        _claim_names(providers[name], entries)
    for fields in overlay["models"]:
        lay_over(entries, fields)
    unpriced = sorted(key for key, entry in entries.items() if not entry.prices)
    if unpriced:
        msg = f"the supplement names models without a price: {unpriced}"
        raise ValueError(msg)
    head = {
        "format": 1,
        "version": overlay["version"],
        "currency": "USD",
        "sources": [f"genai-prices {version('genai-prices')}", "supplement.json"],
        "fallback_providers": {name: found for name in PROVIDERS if (found := _fallbacks(providers[name]))},
    }
    return _layout(head, models=[entries[key].to_json() for key in sorted(entries)], omitted=omitted)


def read_model(provider: str, model: ModelInfo) -> Entry:
    """Translate one model of the package, but for its names."""
    base = [] if isinstance(model.prices, ModelPrice) else model.prices
    variants = model.price_variants or []
    constraints = [part.constraint for part in base] + [part.constraint for part in variants]
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints):
        msg = "the price depends on the time of day"
        raise OmittedError(msg)
    _require_fast_is_priority(model.id, variants)
    starts = {part.start_date for part in constraints if isinstance(part, StartDateConstraint)}
    entry = Entry(provider, model.id.removesuffix("-"), context_window=model.context_window)
    for tier in TIERS:
        entry.prices.extend(_history(provider, model, tier=tier, starts=sorted({EVER, *starts})))
    entry.kinds = [_kind(entry)]
    entry.same_as = _same_as(entry)
    return entry


def lay_over(entries: dict[tuple[str, str], Entry], fields: dict[str, Any]) -> None:
    """Put what the supplement says of a model over what the package says; its prices replace all others."""
    provider, name = fields["provider"], fields["model"]
    entry = entries.setdefault((provider, name), Entry(provider, name))
    if "prices" in fields:
        entry.same_as, entry.defaults = {}, {}
    for key, value in fields.items():
        if key in ("aliases", "stems"):
            for other in entries.values():
                if other.provider == provider and other is not entry:
                    other.aliases -= set(value)
                    other.stems -= set(value)
            getattr(entry, key).update(value)
        else:
            setattr(entry, key, value)


def _history(provider: str, model: ModelInfo, *, tier: str, starts: list[date]) -> Iterator[dict[str, Any]]:
    """Yield the dated rows of a tier, equal neighbours joined."""
    context = TIERS[tier]
    row: dict[str, Any] | None = None
    for start in starts:
        # Constraints are whole UTC days, so that noon is inside.
        at = datetime.combine(start, time(12), UTC)
        if context and not any(_offers(variant, context, at=at) for variant in model.price_variants or ()):
            continue
        rates = _rates(provider, model.id, prices=model.get_prices(at, context))
        if row is not None and row["rates"] == rates:
            continue
        if row is not None:
            yield {**row, "to": start.isoformat()}
        row = {"tier": tier, "rates": rates}
        if start != EVER:
            row = {"tier": tier, "from": start.isoformat(), "rates": rates}
    if row is not None:
        yield row


def _offers(variant: PriceVariant, context: dict[str, str], *, at: datetime) -> bool:
    return variant.when == context and (variant.constraint is None or variant.constraint.active(at))


def _rates(provider: str, model: str, *, prices: ModelPrice) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    for key, value in vars(prices).items():
        if value is None:
            continue
        if key not in UNITS:
            msg = f"there is no unit for {key}"
            raise OmittedError(msg)
        unit, per = UNITS[key]
        rate = _rate(value, per)
        if rates.setdefault(unit, rate) != rate:
            msg = f"two prices for {unit}"
            raise OmittedError(msg)
    if rates:
        return dict(sorted(rates.items()))
    if (provider, model) in FREE or (provider == "openrouter" and model.endswith(":free")):
        return {"input_tokens": "0", "output_tokens": "0"}
    msg = "no price is given"
    raise OmittedError(msg)


def _rate(value: Decimal | TieredPrices, per: int) -> str | dict[str, Any]:
    base = value.base if isinstance(value, TieredPrices) else value
    rate: dict[str, Any] = {"price": _decimal(base)}
    if per != MILLION:
        rate["per"] = per
    if isinstance(value, TieredPrices):
        rate["above"] = {str(tier.start): _decimal(tier.price) for tier in value.tiers}
    return rate if len(rate) > 1 else _decimal(base)


def _decimal(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _require_fast_is_priority(model: str, variants: Iterable[PriceVariant]) -> None:
    by_context = {
        (variant.when.get("service_tier"), str(variant.constraint)): variant.prices for variant in variants
    }
    for (tier, constraint), prices in by_context.items():
        if tier == "fast" and by_context.get(("priority", constraint)) != prices:
            msg = f"{model}: fast is not priority any more"
            raise ValueError(msg)


def _kind(entry: Entry) -> str:
    name, units = entry.model, entry.units()
    for kind, found in (
        ("embedding", "embed" in name or name == "ada"),
        ("moderation", "moderation" in name),
        ("image", "image" in name or "image_output_tokens" in units),
        ("video", "video_output_tokens" in units),
        ("speech", "tts" in name or "characters" in units),
        ("transcription", "transcribe" in name or "audio_seconds" in units),
        ("ocr", "pages" in units),
    ):
        if found:
            return kind
    return "chat"


def _same_as(entry: Entry) -> dict[str, str]:
    """Return what price pages state by listing one rate: this class is charged as that one."""
    name, units, same = entry.model, entry.units(), dict[str, str]()
    if "input_tokens" not in units or entry.provider not in ("openai", "azure", "google"):
        return {}
    if entry.provider == "google" and "claude" not in name:
        # Gemini lists one rate for text, image and video, and another for audio where it differs.
        same |= {"video_input_tokens": "input_tokens", "video_cache_read_tokens": "cache_read_tokens"}
        if "audio_input_tokens" not in units and name not in SEPARATE_AUDIO:
            same |= {"audio_input_tokens": "input_tokens", "audio_cache_read_tokens": "cache_read_tokens"}
    if entry.kinds in (["chat"], ["image"], ["embedding"], ["video"]) and "claude" not in name:
        same |= {"image_input_tokens": "input_tokens", "image_cache_read_tokens": "cache_read_tokens"}
    if entry.kinds == ["image"] and "output_tokens" in units:
        # Where the page lists only one output rate of an image model, it is the image's.
        same["image_output_tokens"] = "output_tokens"
    if entry.kinds == ["speech"] and "output_tokens" in units:
        same["audio_output_tokens"] = "output_tokens"
    return {unit: target for unit, target in sorted(same.items()) if unit not in units}


def _claim_names(provider: Provider, entries: dict[tuple[str, str], Entry]) -> None:
    """Give each name to one model: to the model itself, else to an exact match, else to a prefix."""
    mine = [
        (model, entries[key])
        for model in provider.models
        if (key := (provider.id, model.id.removesuffix("-"))) in entries
    ]
    taken = {entry.model.lower() for _, entry in mine}
    for exact in (True, False):
        for model, entry in mine:
            for is_exact, name in _names(model.match):
                if is_exact is not exact or FRAGMENT.search(name) or name in NO_NAMES:
                    continue
                # Bedrock's names are complete; the others' prefixes take previews and release numbers.
                if not exact and provider.id != "aws" and name not in taken - {entry.model.lower()}:
                    entry.stems.add(name)
                if name not in taken:
                    entry.aliases.add(name)
                taken.add(name)


def _names(match: MatchLogic) -> Iterator[tuple[bool, str]]:
    match match:
        case ClauseEquals(equals=text):
            yield True, text.lower()
        case (
            ClauseStartsWith(starts_with=text)
            | ClauseContains(contains=text)
            | ClauseEndsWith(ends_with=text)
        ):
            yield False, text.lower()
        case ClauseOr(or_=clauses):
            for clause in clauses:
                yield from _names(clause)
        case ClauseAnd(and_=clauses):
            yield from (found for clause in clauses for found in _names(clause))


def _fallbacks(provider: Provider) -> list[str]:
    return [name for name in provider.fallback_model_providers or () if name in PROVIDERS]


def _layout(head: dict[str, Any], *, models: list[dict[str, Any]], omitted: list[dict[str, Any]]) -> str:
    """Return JSON with one model on each line, so that a change shows as a few lines."""
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    for name, rows in (("models", models), ("omitted", omitted)):
        lines.append(f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    raise SystemExit(main())
