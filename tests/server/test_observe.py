import errno
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from om_server.observe import configure_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is the process's, and other tests have their own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class FullDisk(io.StringIO):
    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_production_logs_json_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", readable=False)

    structlog.get_logger("test").info("event_settled", event_id="evt_1")

    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert (line["event"], line["event_id"], line["level"]) == ("event_settled", "evt_1", "info")
    assert captured.out == ""


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", readable=True)

    structlog.get_logger("test").info("event_settled")

    assert capsys.readouterr().err == ""


def test_the_last_configuration_holds_for_libraries_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", readable=True)
    configure_logging("error", readable=True)

    logging.getLogger("library").warning("not wrong enough")
    logging.getLogger("library").error("wrong")

    assert capsys.readouterr().err == "wrong\n"


def test_a_log_whose_disk_is_full_fails_nobody_and_goes_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = FullDisk()
    monkeypatch.setattr(sys, "stderr", full)
    configure_logging("info", readable=False)
    log = structlog.get_logger("test")

    log.warning("settle_postponed")
    full.room = True
    log.warning("settled_again")

    assert json.loads(full.getvalue())["event"] == "settled_again"


def test_a_trace_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", readable=True)

    def call(secret: str) -> None:
        raise ValueError(len(secret))

    try:
        call("".join(reversed("terc3s")))
    except ValueError:
        structlog.get_logger("test").exception("call_failed")

    shown = capsys.readouterr().err
    assert "ValueError: 6" in shown
    assert "s3cret" not in shown
