"""What the catalogue knows of a model, and how the many names of a model lead to it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Callers write providers as they like: the published API in capitals, clouds by their product.
_PROVIDERS: Mapping[str, str] = {
    "amazon": "aws",
    "aws-bedrock": "aws",
    "bedrock": "aws",
    "azure-openai": "azure",
    "gemini": "google",
    "google-ai": "google",
    "vertex": "google",
    "vertex-ai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
    "grok": "x-ai",
}

# `auto` that no answer resolved is the project's default, which is the standard tier.
_TIERS: Mapping[str, str] = {
    "": "standard",
    "auto": "standard",
    "default": "standard",
    "on_demand": "standard",
    "standard_only": "standard",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}
# Providers that call their priority tier "fast". Elsewhere fast is a tier with prices of its own.
_FAST_IS_PRIORITY = frozenset({"openai", "azure"})

_PATH = re.compile(r"^(?:.*/)?models/")
_BEDROCK_VERSION = re.compile(r"(?:-v[0-9]+)?:[0-9]+$")
_BEDROCK_REGION = re.compile(r"^(?:us|eu|apac|ap|au|jp|in|ca|sa|us-gov|global)\.")
_BEDROCK_VENDOR = re.compile(r"^[a-z0-9-]+\.(?=[a-z])")
_DATE = re.compile(r"(?:[-:]20[0-9]{2}-[0-9]{2}-[0-9]{2}|-20[0-9]{6})(?:-v[0-9]+)?$|-latest$")
# OpenAI's oldest snapshots end in a month and a day. Elsewhere four digits are a generation.
_SHORT_DATE = re.compile(r"-(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])$")
_RELEASE = re.compile(r"-(?:preview|exp)(?:-[0-9]{2}-[0-9]{2,4}|-[0-9]{4})?$|-[0-9]{3,4}$")
_SHORT_DATE_PROVIDERS = frozenset({"openai", "azure"})


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a provider. A limit that is None is not known.

    `aliases` are other names of the same model; to `stems`, which are names too, the provider also
    appends previews and release numbers at the same price.
    """

    provider: str
    name: str
    aliases: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    context_window: int | None = None
    output_tokens_max: int | None = None
    reasons: bool | None = None

    @property
    def output_tokens_bound(self) -> int | None:
        """The most that one answer can be: the documented maximum, else the whole context window."""
        return self.output_tokens_max if self.output_tokens_max is not None else self.context_window


def canonical_provider(name: str) -> str:
    """Return the catalogue's name of a provider; an unknown one stays as it is, in lower case."""
    folded = name.strip().lower().replace("_", "-")
    return _PROVIDERS.get(folded, folded)


def canonical_tier(provider: str, tier: str) -> str:
    """Return the catalogue's name of a service tier of a canonical provider."""
    folded = tier.strip().lower()
    if folded == "fast" and provider in _FAST_IS_PRIORITY:
        return "priority"
    return _TIERS.get(folded, folded)


def spellings(provider: str, name: str) -> Iterator[str]:
    """Yield the names under which a caller's model may be filed, the most literal first.

    provider-wire section 8: paths, regions, vendors and Bedrock versions go, Vertex dates change shape.
    Two things stay on purpose. OpenRouter's `:free` is not the price of the plain model, and a
    fine-tune is never the price of its base.
    """
    folded = name.strip().lower()
    yield folded
    if folded.startswith("ft:"):
        # ft:<base>:<organization>:<name>:<id> has the fine-tuned price of its base.
        yield ":".join(folded.split(":")[:2])
        return
    if folded.startswith("tunedmodels/"):
        return
    plain = _PATH.sub("", folded).replace("@", "-")
    yield plain
    if provider == "openrouter":
        return
    plain = _BEDROCK_VERSION.sub("", plain)
    yield plain
    # Bedrock's global endpoints are cheaper than its regional ones: under aws the two stay apart.
    if not (provider == "aws" and plain.startswith("global.")):
        plain = _BEDROCK_REGION.sub("", plain)
        yield plain
        yield _BEDROCK_VENDOR.sub("", plain)
    if "/" in plain:
        yield plain.rpartition("/")[2]


def without_date(provider: str, name: str) -> str | None:
    """Return the name without its snapshot date or `-latest`; None if it has neither."""
    shorter = _DATE.sub("", name)
    if shorter == name and provider in _SHORT_DATE_PROVIDERS:
        shorter = _SHORT_DATE.sub("", name)
    return shorter if shorter != name else None


def without_release(name: str) -> str | None:
    """Return the name without `-preview-04-17`, `-exp`, `-001` or `-2507`; None if it has none of these."""
    shorter = _RELEASE.sub("", name)
    return shorter if shorter != name else None
