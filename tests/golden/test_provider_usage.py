"""Every golden case of the providers, in every way in which its bytes can arrive."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from om_proxy.call import Call
from om_proxy.reading import Line, Metered
from om_proxy.usage import Certainty
from tests.proxy.exchange import EVENTS, JSON, amounts, call_of, events, meter_in_pieces, random_pieces

FOLDER = Path(__file__).parent / "providers"
SEEDS = range(12)


def load_cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for case in yaml.safe_load(path.read_text())
    ]


@pytest.mark.parametrize("case", load_cases())
def test_usage_is_read_the_same_however_the_bytes_arrive(case: dict[str, Any]) -> None:
    call = call_of(case["path"], case["request"])
    for content_type, body in wire_forms(call, case):
        whole = described(meter_in_pieces(call, [body], content_type=content_type), case)
        assert whole == expected(case)
        zipped = gzip.compress(body)
        for seed in SEEDS:
            for encoding, coded in (("", body), ("gzip", zipped)):
                pieces = random_pieces(coded, seed)
                metered = meter_in_pieces(call, pieces, content_type=content_type, encoding=encoding)
                assert described(metered, case) == whole, f"seed {seed}, {content_type}, {encoding}"


def wire_forms(call: Call, case: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Write the response in each form that its provider, or something between, gives it."""
    if "json" in case:
        indented = orjson.dumps(case["json"], option=orjson.OPT_INDENT_2)
        return [(JSON, orjson.dumps(case["json"])), (f"{JSON}; charset=utf-8", indented)]
    frames = case["frames"]
    forms = [(EVENTS, events(frames, newline)) for newline in (b"\n", b"\r\n", b"\r")]
    plain = forms[0][1]
    forms.append((EVENTS, plain.removesuffix(b"\n\n")))
    forms.append((EVENTS, b"\xef\xbb\xbf: comment\n\n" + plain.replace(b"data: ", b"data:")))
    if call.provider == "google":
        forms += [(JSON, orjson.dumps(frames)), (JSON, orjson.dumps(frames, option=orjson.OPT_INDENT_2))]
    return forms


def expected(case: dict[str, Any]) -> dict[str, Any]:
    request = call_of(case["path"], case["request"])
    lines = [
        {
            "provider": request.provider,
            "model": line.get("model", request.model),
            "requested_model": line.get("requested_model", request.model),
            "tier": line.get("tier", "standard"),
            "attributes": line.get("attributes", {}),
            "amounts": line["amounts"],
            "estimated": sorted(line.get("estimated", [])),
        }
        for line in case["lines"]
    ]
    described = {"lines": lines, "flags": sorted(case.get("flags", []))}
    return described | {name: case[name] for name in ("response_id", "raw_usage") if name in case}


def described(metered: Metered, case: dict[str, Any]) -> dict[str, Any]:
    """Write a reading as a case would; what the case is silent about is left out."""
    optional = {
        "response_id": metered.response_id,
        "raw_usage": metered.raw_usage.decode() if metered.raw_usage else None,
    }
    return {
        "lines": [described_line(line) for line in metered.lines],
        "flags": sorted(metered.flags),
    } | {name: value for name, value in optional.items() if name in case}


def described_line(line: Line) -> dict[str, Any]:
    return {
        "provider": line.provider,
        "model": line.model,
        "requested_model": line.requested_model,
        "tier": line.tier,
        "attributes": dict(line.attributes),
        "amounts": amounts(line),
        "estimated": sorted(
            quantity.unit for quantity in line.usage.quantities if quantity.certainty is Certainty.ESTIMATED
        ),
    }
