"""Results of a batch, as they are read: whole, in part, and far larger than memory should be."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from om_proxy.call.call import Call
from om_proxy.metering.decode import DECODED_MAX
from om_proxy.metering.reading import EndedJob, Flag, Metered
from tests.proxy.exchange import call_of, meter_in_pieces

PATH = "/v1/messages/batches/msgbatch_01/results"
JSON_LINES = "application/x-jsonl"


def results() -> Call:
    return call_of(PATH, b"", method="GET")


def line(custom_id: object, text: str = "") -> bytes:
    message: dict[str, Any] = {
        "type": "message",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": text}],
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}) + b"\n"


def read(body: bytes, *, encoding: str = "") -> Metered:
    return meter_in_pieces(results(), [body], content_type=JSON_LINES, encoding=encoding)


def parts(metered: Metered) -> list[str]:
    return [job.part for job in metered.ended if job.part]


def test_what_was_read_of_results_that_break_off_is_charged_and_the_batch_is_not_over() -> None:
    whole = line("a") + line("b")

    metered = read(whole[:-10])

    assert parts(metered) == ["a"]
    assert all(job.part for job in metered.ended)
    assert metered.flags == {Flag.DOCUMENT_MALFORMED}


def test_a_line_in_the_middle_that_cannot_be_read_hides_no_other() -> None:
    metered = read(line("a") + b"{\n" + line("b"))

    assert parts(metered) == ["a", "b"]
    assert Flag.DOCUMENT_MALFORMED in metered.flags


def test_results_that_were_not_read_at_all_end_nothing() -> None:
    assert read(b"").ended == ()
    assert read(b"\n\n").ended == ()


def test_results_that_are_all_in_vain_end_the_batch() -> None:
    errored = orjson.dumps({"custom_id": "a", "result": {"type": "errored", "error": {}}})

    assert read(errored).ended == (EndedJob("msgbatch_01", ()),)


@pytest.mark.parametrize("custom_id", [None, "", 7])
def test_a_result_without_a_name_is_flagged(custom_id: object) -> None:
    metered = read(line(custom_id))

    assert parts(metered) == []
    assert metered.flags == {Flag.USAGE_MALFORMED}


def test_a_long_name_is_shortened_the_same_way_each_time() -> None:
    [one], [again], [other] = (parts(read(line(name * 200))) for name in "aab")

    assert one == again != other
    assert len(one) == 64


def test_reading_results_changes_nothing_else() -> None:
    metered = read(line("a"))

    assert (metered.lines, metered.job_id) == ((), None)
    assert metered == read(line("a"))


def test_compressed_results_are_read_to_their_end_however_long_they_are() -> None:
    """What the client gets and nobody reads would be free: a bomb costs time here, and no memory."""
    filler = line("f", "x" * (1 << 20))
    count = DECODED_MAX // len(filler) + 2
    body = gzip.compress(b"".join([filler.replace(b'"f"', b'"%d"' % index) for index in range(count)]), 1)

    assert len(parts(read(body, encoding="gzip"))) == count
