"""Log lines on their way out: a reader who stops reading them must not stop the calls."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TextIO

from om_proxy.defect import place_of

_LINES_MAX = 10_000
_FLUSH_S = 1.0


class LogSink:
    """A file to write to that never blocks: a thread writes on; what does not fit is dropped and counted."""

    def __init__(self, out: TextIO, lines_max: int = _LINES_MAX) -> None:
        self.dropped = 0
        self._out = out
        self._lines: queue.Queue[str | None] = queue.Queue(lines_max)
        self._told = 0
        # A daemon: a pipe that nobody reads must not keep the process alive either.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Take a line, or count it as dropped."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self.dropped += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread flushes what it writes."""

    def close(self) -> None:
        """Write out what waits, for at most a second."""
        try:
            self._lines.put(None, timeout=_FLUSH_S)
        except queue.Full:
            return
        self._thread.join(_FLUSH_S)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                if self.dropped > self._told:
                    self._told = self.dropped
                    self._out.write(f'{{"event": "log_lines_dropped", "count": {self._told}}}\n')
                self._out.write(text)
                self._out.flush()
            except (OSError, ValueError):
                # The other end is gone. There is nobody to tell.
                self.dropped += 1


class KindFormatter(logging.Formatter):
    """Formats a library's record by level, logger and kind of error: its text can quote what passes."""

    def format(self, record: logging.LogRecord) -> str:
        """Leave out the message and the traceback."""
        line = f"{record.levelname} {record.name}"
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else f"{line} {type(error).__name__} {place_of(error)}"
