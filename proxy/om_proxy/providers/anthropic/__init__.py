"""Anthropic: messages, batches of them, and what SDKs ask beside them."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.call.provider import UsageReader, bearer_token, only_value
from om_proxy.call.route import Route, Target
from om_proxy.call.unmetered import NoUsage, passed_call
from om_proxy.metering.framing import Framing, JsonLines, NoDocuments, WholeBody
from om_proxy.metering.sse import SseParser
from om_proxy.providers.anthropic.batch import BatchReader, ResultsReader, read_batch
from om_proxy.providers.anthropic.request import read_messages
from om_proxy.providers.anthropic.usage import MessagesReader
from om_proxy.refusals.problem import missing_provider_key
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.secret import Credential, Secret

_PREFIX = "/v1"


class _Usage(StrEnum):
    """How the usage of an answer is read."""

    MESSAGE = "usage by model"  # Merged over all events.
    BATCH_BEGUN = "batch job"  # None yet: the batch is known by its id.
    BATCH = "end of a batch in vain"
    RESULTS = "usage of each result"
    NONE = ""


class _Bound(StrEnum):
    """How the most that a call may consume is read from its request."""

    MESSAGE = "text, output cap, tools, other models"
    BATCH = "sum of its requests"
    NOTHING = ""


def _free(method: str, path: str, operation: str, usage: _Usage = _Usage.NONE) -> Route:
    return Route("anthropic", method, path, operation, billable=False, usage=usage, bound=_Bound.NOTHING)


_BATCHES = f"{_PREFIX}/messages/batches"
_ROUTES = (
    Route(
        "anthropic",
        "POST",
        f"{_PREFIX}/messages",
        "messages",
        usage=_Usage.MESSAGE,
        bound=_Bound.MESSAGE,
    ),
    _free("POST", f"{_PREFIX}/messages/count_tokens", "count_tokens"),
    Route("anthropic", "POST", _BATCHES, "batches", usage=_Usage.BATCH_BEGUN, bound=_Bound.BATCH),
    _free("GET", _BATCHES, "list_batches"),
    _free("GET", f"{_BATCHES}/{{batch}}", "get_batch", _Usage.BATCH),
    _free("DELETE", f"{_BATCHES}/{{batch}}", "delete_batch"),
    _free("POST", f"{_BATCHES}/{{batch}}/cancel", "cancel_batch", _Usage.BATCH),
    _free("GET", f"{_BATCHES}/{{batch}}/results", "batch_results", _Usage.RESULTS),
    _free("GET", f"{_PREFIX}/models", "list_models"),
    _free("GET", f"{_PREFIX}/models/{{model}}", "get_model"),
    _free("POST", f"{_PREFIX}/files", "upload_file"),
    _free("GET", f"{_PREFIX}/files", "list_files"),
    _free("GET", f"{_PREFIX}/files/{{file}}", "get_file"),
    _free("DELETE", f"{_PREFIX}/files/{{file}}", "delete_file"),
    _free("GET", f"{_PREFIX}/files/{{file}}/content", "download_file"),
)


class Anthropic:
    """The provider."""

    name = "anthropic"
    shape = Shape.ANTHROPIC
    # Clients that were given a base URL ending in /v1 append the whole path to it.
    routes = (
        *_ROUTES,
        *(replace(route, path=f"{_PREFIX}{route.path}", upstream_path=route.path) for route in _ROUTES),
    )
    # Plain HTTP callers need not know about API versions; SDKs send their own.
    default_headers = (("anthropic-version", "2023-06-01"),)
    keyless = False

    def misrouted(self, method: str, raw_path: str) -> Problem | None:  # noqa: ARG002 - see Provider.
        """Leave unknown paths unknown."""
        return None

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:  # noqa: ARG002
        """Take x-api-key, else the bearer token that newer SDKs send."""
        key = only_value(headers, "x-api-key")
        if isinstance(key, Problem):
            return key
        if key is not None:
            return Credential("x-api-key", Secret(key))
        value = only_value(headers, "authorization")
        if isinstance(value, Problem):
            return value
        token = bearer_token(value) if value else None
        if token is None:
            return missing_provider_key(self.shape)
        return Credential("Authorization", Secret(f"Bearer {token}"))

    def credential_of(self, key: Secret) -> Credential:
        """Send it as x-api-key."""
        return Credential("x-api-key", key)

    def upstream_query(self, raw_query: str) -> str:
        """Leave the query alone: beta methods say so in it."""
        return raw_query

    def read(self, target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:  # noqa: ARG002
        """Understand a request; it is forwarded as it came."""
        match target.route.bound:
            case _Bound.MESSAGE:
                return read_messages(target, body)
            case _Bound.BATCH:
                return read_batch(target, body)
            case _:
                return replace(passed_call(target, body), resource=dict(target.names).get("batch", ""))

    def framing(self, call: Call, content_type: str) -> Framing:
        """Tell events, lines, a plain body, and what nobody reads."""
        if call.usage == _Usage.NONE:
            return NoDocuments()
        if call.usage == _Usage.RESULTS:
            return JsonLines()
        return SseParser() if content_type.startswith("text/event-stream") else WholeBody()

    def reader(self, call: Call) -> UsageReader:
        """Read an answer as its route says."""
        match call.usage:
            case _Usage.MESSAGE:
                return MessagesReader(call)
            case _Usage.BATCH_BEGUN | _Usage.BATCH:
                return BatchReader(call, begins=call.usage == _Usage.BATCH_BEGUN)
            case _Usage.RESULTS:
                return ResultsReader(call)
            case _:
                return NoUsage()
