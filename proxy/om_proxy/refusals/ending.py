"""The end of a stream that can be paid for no longer, as its provider's clients read an error.

Everything that was passed on stays; what follows is one more event, which says that the rest will not come.
"""

from __future__ import annotations

import orjson

from om_proxy.refusals.refusal import Problem, Shape

#: A frame that is longer is passed on as it comes, and no event can stand behind a part of it.
_FRAME_MAX = 1 << 20
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


def credits_used_up() -> Problem:
    """402 where the answer has begun already: the wallet cannot pay for more of it."""
    code = "insufficient_credits"
    message = "Insufficient credits: the answer ends here, because the wallet cannot pay for more of it."
    return Problem(402, code, code, "RESOURCE_EXHAUSTED", message)


def last_event(problem: Problem, shape: Shape, *, responses: bool, number: int) -> bytes:
    """Write the event. `responses`: of that API of OpenAI's, whose events have names and numbers."""
    if shape is Shape.GEMINI:
        # The code must be an integer: an SDK of Google's crashes on a text.
        error = {"code": problem.status, "message": problem.message, "status": problem.rpc_status}
        return b"data: " + orjson.dumps({"error": error}) + b"\r\n\r\n"
    if shape is Shape.ANTHROPIC:
        return _named({"type": "error", "error": {"type": problem.type, "message": problem.message}})
    if responses:
        told = {"code": problem.code, "message": problem.message, "param": None, "sequence_number": number}
        return _named({"type": "error", **told})
    error = {"message": problem.message, "type": problem.type, "param": None, "code": problem.code}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


def _named(event: dict[str, object]) -> bytes:
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"


class WholeEvents:
    """Passes events on when they are whole, so that another one can stand behind them."""

    def __init__(self) -> None:
        self.held = b""
        #: Whether nothing but whole events was passed on.
        self.clean = True

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be passed on now."""
        data = self.held + chunk
        end = max((data.rfind(mark) + len(mark) for mark in _ENDS if mark in data), default=0)
        if len(data) - end > _FRAME_MAX:
            self.clean, end = False, len(data)
        self.held = data[end:]
        return data[:end]

    def finish(self) -> bytes:
        """Give what is left at the end of the stream."""
        held, self.held = self.held, b""
        return held
