"""Lines that nobody reads are dropped and counted, and hold nobody up: row 83 of the fault catalogue."""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress

import pytest

from om_proxy.log_sink import KindFormatter, LogSink


def test_a_reader_who_does_not_read_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    out = os.fdopen(writing, "w")
    sink = LogSink(out, lines_max=100)

    for _ in range(5_000):
        sink.write("a line that is longer than a pipe has room for\n" * 10)

    assert sink.dropped > 0
    # The pipe breaks under the thread, so that it ends.
    os.close(reading)
    sink.close()
    with suppress(BrokenPipeError):
        out.close()


def test_lines_come_out_in_order_and_what_was_dropped_is_told() -> None:
    out = io.StringIO()
    sink = LogSink(out)
    sink.dropped = 3
    for number in range(50):
        sink.write(f"{number}\n")
    sink.close()

    assert out.getvalue().splitlines() == [
        '{"event": "log_lines_dropped", "count": 3}',
        *map(str, range(50)),
    ]


@pytest.mark.parametrize("error", [None, ValueError("sk-canary")])
def test_a_record_of_a_library_is_told_by_kind_and_place(error: ValueError | None) -> None:
    try:
        if error is not None:
            raise error
        found = None
    except ValueError:
        found = sys.exc_info()
    record = logging.LogRecord("aiohttp", logging.ERROR, "x.py", 1, "Error %s", ("sk-canary",), found)

    line = KindFormatter().format(record)

    assert line.startswith("ERROR aiohttp" if error is None else "ERROR aiohttp ValueError test_log_sink.py:")
    assert "canary" not in line
