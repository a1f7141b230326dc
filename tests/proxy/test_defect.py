from __future__ import annotations

from structlog.testing import capture_logs

from om_proxy.defect import log_defect


def test_a_defect_is_told_by_kind_and_place_and_never_by_its_text() -> None:
    with capture_logs() as logs:
        try:
            _fails("sk-canary")
        except ZeroDivisionError as error:
            log_defect("meter_failed", error, event_id="evt_1")
        log_defect("connection_failed", ValueError("sk-canary"))

    line = _fails.__code__.co_firstlineno + 1
    assert logs == [
        {
            "event": "meter_failed",
            "event_id": "evt_1",
            "kind": "ZeroDivisionError",
            "place": f"test_defect.py:{line}",
            "log_level": "error",
        },
        {
            "event": "connection_failed",
            "event_id": "",
            "kind": "ValueError",
            "place": "",
            "log_level": "error",
        },
    ]


def _fails(secret: str) -> None:
    raise ZeroDivisionError(secret)
