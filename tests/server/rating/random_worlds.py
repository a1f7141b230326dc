"""Random tariffs and events for the oracle, from a seed: every feature of rating, in any mixture."""

import random

from tests.server.rating.oracle import Line, Listed, Rates, Rule, World

CHANGE = 1_000
#: In these times prices change, and tables of the organization and of customers begin.
TIMES = (CHANGE - 500, CHANGE - 1, CHANGE, CHANGE + 500)
CUSTOMERS = ("", "acme", "other")
FEATURES = ("", "chat", "search")
MODELS = (("openai", "gpt-a"), ("openai", "gpt-b"), ("anthropic", "claude"), ("google", "gemini"))
TIERS = ("standard", "batch", "flex", "priority")
SPOKEN_TIERS = ("", "default", "batch", "flex", "priority")
TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "output_tokens",
    "audio_output_tokens",
)
PIECES = (
    "audio_seconds",
    "video_seconds",
    "characters",
    "requests",
    "web_searches",
    "tool_calls",
    "custom:page",
)
SIZES = ("small", "large")
QUALITIES = ("low", "high")
DEFAULTS = (("size", "small"), ("quality", "low"))
PERS = (1_000, 4_000, 1_000_000, 3_600_000, 7_000_000)
PATTERNS = ("", "", "gpt-*", "*-a", "claude", "*")


def world(dice: random.Random) -> World:
    return World(
        prices={
            (provider, model, tier): (_price(dice), _price(dice))
            for provider, model in MODELS
            for tier in TIERS
            # A tier without a price of its own has none, and is not the standard one.
            if tier == "standard" or dice.random() < 0.7
        },
        defaults=DEFAULTS,
        change=CHANGE,
        tables={
            owner: tuple((begin, _table(dice)) for begin in sorted(dice.sample(TIMES, dice.randrange(3))))
            for owner in ("", "acme")
        },
    )


def event(dice: random.Random) -> tuple[Line, ...]:
    return tuple(_line(dice) for _ in range(dice.choice([1, 1, 1, 2, 3])))


def _decimal(dice: random.Random) -> str:
    return dice.choice(["0", f"{dice.randrange(90)}.{dice.randrange(10**5):05}", str(dice.randrange(1, 90))])


def _price(dice: random.Random) -> Rates:
    threshold = dice.choice([200_000, 10_000])
    missing = {"cache_read_tokens"} if dice.random() < 0.3 else set()
    missing |= {dice.choice(PIECES)} if dice.random() < 0.2 else set()
    rates: list[Listed] = []
    for unit in (*TOKENS, *PIECES):
        if unit not in missing:
            per = dice.choice(PERS)
            rates.append(Listed(unit, _decimal(dice), per))
            if dice.random() < 0.4:
                rates.append(Listed(unit, _decimal(dice), dice.choice(PERS), above=threshold))
    rates += [
        Listed("images", _decimal(dice), 1_000, when=(("quality", quality), ("size", size)))
        for quality in QUALITIES
        for size in SIZES
    ]
    return tuple(rates)


def _rule_rates(dice: random.Random, units: tuple[str, ...]) -> Rates:
    rates: list[Listed] = []
    for unit in units:
        rates.append(Listed(unit, _decimal(dice), dice.choice(PERS)))
        if dice.random() < 0.3:
            rates.append(Listed(unit, _decimal(dice), dice.choice(PERS), above=50_000))
    if dice.random() < 0.3:
        rates += [Listed("images", _decimal(dice), 1_000, when=(("size", size),)) for size in SIZES]
    return tuple(rates)


def _table(dice: random.Random) -> tuple[Rule, ...]:
    return tuple(_rule(dice) for _ in range(dice.randrange(4)))


def _rule(dice: random.Random) -> Rule:
    everything = (*TOKENS, *PIECES)
    kind = dice.choice(["cost", "cost and units", "units", "fee"])
    units = everything if kind == "units" else tuple(dice.sample(everything, dice.randint(1, 4)))
    rates = _rule_rates(dice, units) if kind in ("units", "cost and units") else ()
    # Free units of one rate each: what is free is the first of the event, whatever it would have cost.
    named = sorted({rate.unit for rate in rates} - {"images"})
    free = tuple(
        (unit, dice.randint(1, 10**5)) for unit in dice.sample(named, min(len(named), dice.randrange(3)))
    )
    return Rule(
        feature=dice.choice(FEATURES),
        provider=dice.choice(["", "", "openai", "anthropic"]),
        pattern=dice.choice(PATTERNS),
        markup=dice.choice(["0", "1000", "1333.375", "0.0000001"]) if kind.startswith("cost") else None,
        rates=rates,
        flat=dice.randrange(1, 10**10) if kind == "fee" else dice.choice([0, dice.randrange(10**10)]),
        minimum=dice.choice([0, dice.randrange(10**15)]),
        free=free,
        cached=dice.choice([None, None, 0, dice.randrange(10**10)]),
    )


def _line(dice: random.Random) -> Line:
    provider, model = dice.choice(MODELS)
    units = dice.sample((*TOKENS, *PIECES, "images"), dice.randint(1, 6))
    usage = tuple((unit, _amount(dice)) for unit in units)
    when: tuple[tuple[str, str], ...] = ()
    if dice.random() < 0.5:
        when = (("size", dice.choice((*SIZES, "huge"))), ("quality", dice.choice(QUALITIES)))
    return Line(provider, model, dice.choice(SPOKEN_TIERS), usage, when, cached=dice.random() < 0.2)


def _amount(dice: random.Random) -> int | None:
    if dice.random() < 0.01:
        return None
    return dice.choice([0, 1, dice.randrange(1_000), dice.randrange(100_000), 10_000, dice.randrange(10**6)])
