"""A defect of ours, told by kind and place: the text of an error can quote a key, a prompt or an answer."""

from __future__ import annotations

from pathlib import PurePath

import structlog

_log = structlog.get_logger(__name__)


def log_defect(event: str, error: BaseException, *, event_id: str = "") -> None:
    """Log an error that nobody expected, without its text and without the values around it."""
    _log.error(event, event_id=event_id, kind=type(error).__name__, place=place_of(error))


def place_of(error: BaseException) -> str:
    """Name the file and line where it was raised."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
