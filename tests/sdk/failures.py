"""Which error class each SDK raises for what a provider answers, through the proxy as without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.sdk.environments import Environment

Raised = tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is raised: by default, and in the environments that differ (by name, or by the start of it)."""

    #: Nothing is raised: the user gets what came until then.
    SILENT: ClassVar[Raised] = ("", None)

    usual: Raised
    others: tuple[tuple[str, Raised], ...] = ()

    def of(self, environment: Environment) -> Raised:
        for name, raised in self.others:
            if environment.name.startswith(name):
                return raised
        return self.usual


def _status(status: int, usual: str, **others: str) -> Failure:
    differing = tuple((name.replace("_", "-"), (raised, status)) for name, raised in others.items())
    return Failure((usual, status), differing)


_CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
}
_OPENAI = {status: _status(status, name) for status, name in _CLASSES.items()} | {
    402: _status(402, "APIStatusError", javascript="APIError"),
    413: _status(413, "APIStatusError", javascript="APIError"),
    503: _status(503, "InternalServerError"),
    529: _status(529, "InternalServerError"),
}
_ANTHROPIC = {status: _status(status, name) for status, name in _CLASSES.items()} | {
    402: _status(
        402, "PaymentRequiredError", python_previous="APIStatusError", javascript_previous="APIError"
    ),
    413: _status(
        413, "ContentTooLargeError", python_previous="RequestTooLargeError", javascript_previous="APIError"
    ),
    503: _status(
        503,
        "ServiceUnavailableError",
        python_previous="InternalServerError",
        javascript_previous="InternalServerError",
    ),
    529: _status(529, "OverloadedError", javascript_previous="InternalServerError"),
}
_GOOGLE = {
    status: _status(status, "ClientError" if status < 500 else "ServerError", javascript="ApiError")
    for status in (*_OPENAI,)
}

_ENDED_SILENTLY = Failure(Failure.SILENT)
_CUT: tuple[tuple[str, Raised], ...] = (("javascript", ("TypeError", None)),)
_IN_STREAM = {
    "openai_error_in_stream": Failure(("APIError", None)),
    "anthropic_error_in_stream": Failure(("APIStatusError", 200), (("javascript", ("APIError", None)),)),
    # The previous generation passes over an error in a stream.
    "google_error_in_stream": Failure(
        ("ServerError", 503),
        (
            ("python-previous", Failure.SILENT),
            ("javascript-previous", Failure.SILENT),
            ("javascript", ("ApiError", 503)),
        ),
    ),
    "openai_stream_cut": Failure(
        ("RemoteProtocolError", None), (*_CUT, ("python-current", ("APIConnectionError", None)))
    ),
    "anthropic_stream_cut": Failure(("RemoteProtocolError", None), _CUT),
    "google_stream_cut": Failure(("RemoteProtocolError", None), _CUT),
    # No SDK notices: a proxy must never end a stream like this by itself.
    "openai_stream_ends_early": _ENDED_SILENTLY,
    "anthropic_stream_ends_early": _ENDED_SILENTLY,
    "google_stream_ends_early": _ENDED_SILENTLY,
    # A user of JavaScript gives up with a signal, which ends the loop without an error.
    "openai_stream_hangs": Failure(
        ("ReadTimeout", None),
        (("javascript", Failure.SILENT), ("python-current", ("APITimeoutError", None))),
    ),
    "anthropic_stream_hangs": Failure(("ReadTimeout", None), (("javascript", Failure.SILENT),)),
    # Called from Python only: in JavaScript its time limit is the same signal.
    "google_stream_hangs": Failure(("ReadTimeout", None)),
}

#: Call -> what it raises.
FAILURES: dict[str, Failure] = {
    f"{provider}_error_{status}": failure
    for provider, failures in (("openai", _OPENAI), ("anthropic", _ANTHROPIC), ("google", _GOOGLE))
    for status, failure in failures.items()
} | _IN_STREAM
