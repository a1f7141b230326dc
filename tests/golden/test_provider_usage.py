"""Every golden case of the providers, in every way in which its bytes can arrive."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import brotli
import orjson
import pytest
import yaml
import zstandard

from om_proxy.call.call import Call
from om_proxy.metering.reading import Line, Metered
from om_proxy.metering.usage import Certainty
from tests.proxy.exchange import EVENTS, JSON, amounts, call_of, events, meter_in_pieces, random_pieces

FOLDER = Path(__file__).parent / "providers"
SEEDS = range(4)
FEW_SEEDS = range(1)
JSON_LINES = "application/x-jsonl"


def load_cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for case in yaml.safe_load(path.read_text())
    ]


@pytest.mark.parametrize("case", load_cases())
def test_usage_is_read_the_same_however_the_bytes_arrive(case: dict[str, Any]) -> None:
    call = asked(case)
    for content_type, body in wire_forms(call, case):
        whole = described(meter_in_pieces(call, [body], content_type=content_type), case)
        assert whole == expected(case)
        common = [("", body), ("gzip", gzip.compress(body))]
        rarer = [("br", brotli.compress(body)), ("zstd", zstandard.compress(body))]
        for seed in SEEDS:
            for encoding, coded in [*common, *rarer] if seed in FEW_SEEDS else common:
                pieces = random_pieces(coded, seed)
                metered = meter_in_pieces(call, pieces, content_type=content_type, encoding=encoding)
                assert described(metered, case) == whole, f"seed {seed}, {content_type}, {encoding}"


def asked(case: dict[str, Any]) -> Call:
    """Read the request of a case; what is no mapping goes as text."""
    request = case.get("request", "")
    return call_of(
        case["path"],
        request.encode() if isinstance(request, str) else request,
        method=case.get("method", "POST"),
        provider=case.get("provider", ""),
        content_type=case.get("content_type", JSON),
    )


def wire_forms(call: Call, case: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Write the response in each form that its provider, or something between, gives it."""
    if "text" in case:
        return [("text/plain; charset=utf-8", case["text"].encode())]
    if "bytes" in case:
        return [(case["answer_type"], bytes(case["bytes"]))]
    if "lines_of_json" in case:
        written = [orjson.dumps(line) for line in case["lines_of_json"]]
        ends = (b"\n".join(written), b"\n".join([*written, b""]), b"\r\n\n".join([*written, b""]))
        return [(JSON_LINES, body) for body in ends]
    if "json" in case:
        indented = orjson.dumps(case["json"], option=orjson.OPT_INDENT_2)
        return [(JSON, orjson.dumps(case["json"])), (f"{JSON}; charset=utf-8", indented)]
    frames = case["frames"]
    forms = [(EVENTS, events(frames, newline)) for newline in (b"\n", b"\r\n", b"\r")]
    plain = forms[0][1]
    forms.append((EVENTS, plain.removesuffix(b"\n\n")))
    forms.append((EVENTS, b"\xef\xbb\xbf: comment\n\n" + plain.replace(b"data: ", b"data:")))
    if call.operation == "streamGenerateContent":
        forms += [(JSON, orjson.dumps(frames)), (JSON, orjson.dumps(frames, option=orjson.OPT_INDENT_2))]
    return forms


def expected(case: dict[str, Any]) -> dict[str, Any]:
    request = asked(case)
    described = {
        "lines": [expected_line(line, request) for line in case["lines"]],
        "flags": sorted(case.get("flags", [])),
        "job_id": case.get("job_id"),
        "ended": [
            {
                "job_id": job["job_id"],
                "part": job.get("part", ""),
                "lines": [expected_line(line, request) for line in job["lines"]],
            }
            for job in case.get("ended", [])
        ],
    }
    return described | {name: case[name] for name in ("response_id", "raw_usage") if name in case}


def expected_line(line: dict[str, Any], request: Call) -> dict[str, Any]:
    return {
        "provider": request.provider,
        "model": line.get("model", request.model),
        "requested_model": line.get("requested_model", request.model),
        "tier": line.get("tier", "standard"),
        "attributes": line.get("attributes", {}),
        "amounts": line["amounts"],
        "estimated": sorted(line.get("estimated", [])),
    }


def described(metered: Metered, case: dict[str, Any]) -> dict[str, Any]:
    """Write a reading as a case would; what the case is silent about is left out."""
    optional = {
        "response_id": metered.response_id,
        "raw_usage": metered.raw_usage.decode() if metered.raw_usage else None,
    }
    return {
        "lines": [described_line(line) for line in metered.lines],
        "flags": sorted(metered.flags),
        "job_id": metered.job_id,
        "ended": [
            {
                "job_id": job.job_id,
                "part": job.part,
                "lines": [described_line(line) for line in job.lines],
            }
            for job in metered.ended
        ],
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
