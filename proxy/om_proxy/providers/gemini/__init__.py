"""Gemini: generation, embeddings, images, video, interactions, and an endpoint in OpenAI's dialect."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.call.provider import UsageReader, bearer_token, only_value, query_secret, query_without
from om_proxy.call.route import Route, Target
from om_proxy.call.unmetered import NoUsage, passed_call
from om_proxy.metering.framing import BODY_MAX, Framing, JsonArray, NoDocuments, SlimBody, WholeBody
from om_proxy.metering.sse import SseParser
from om_proxy.providers.gemini.cached_content import CachedContentReader, read_cached_content
from om_proxy.providers.gemini.embedding import EmbeddingReader, read_embedding
from om_proxy.providers.gemini.interaction import InteractionReader, read_interaction
from om_proxy.providers.gemini.media import ImagesReader, VideoReader, read_images, read_video
from om_proxy.providers.gemini.request import GENERATE, STREAM, read_generate
from om_proxy.providers.gemini.routes import NAME, ROUTES, VERSIONS, Bounds, Reads
from om_proxy.providers.gemini.shim import read_shim_chat, read_shim_embeddings, read_shim_images
from om_proxy.providers.gemini.usage import GenerateReader
from om_proxy.providers.openai.convention import GEMINI_SHIM
from om_proxy.providers.openai.usage import ChatReader
from om_proxy.refusals.problem import misrouted, missing_provider_key
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.secret import Credential, Secret

_KEY = "key"
_PREFIXES = tuple(f"{version}/models/" for version in VERSIONS)
_ACTION = re.compile(r"(?::|%3[Aa])([A-Za-z]{1,64})$")
_VERBS = frozenset(route.operation for route in ROUTES if f":{route.operation}" in route.path)

_READERS_OF_REQUESTS: Final[dict[str, Callable[[Target, bytes], Call | Problem]]] = {
    Bounds.CONTENT: read_generate,
    Bounds.EMBEDDING: read_embedding,
    Bounds.IMAGES: read_images,
    Bounds.VIDEO: read_video,
    Bounds.CACHE: read_cached_content,
    Bounds.INTERACTION: read_interaction,
    Bounds.CHAT: read_shim_chat,
    Bounds.SHIM_EMBEDDING: read_shim_embeddings,
    Bounds.SHIM_IMAGES: read_shim_images,
}
_READERS_OF_USAGE: Final[dict[str, Callable[[Call], UsageReader]]] = {
    Reads.GENERATED: GenerateReader,
    Reads.EMBEDDED: EmbeddingReader,
    Reads.PREDICTIONS: lambda call: ImagesReader(call, "predictions"),
    Reads.OPERATION_BEGUN: lambda call: VideoReader(call, begins=True),
    Reads.OPERATION: lambda call: VideoReader(call, begins=False),
    Reads.CACHE: CachedContentReader,
    Reads.INTERACTION: lambda call: InteractionReader(call, begins=True),
    Reads.INTERACTION_IN_BACKGROUND: lambda call: InteractionReader(call, begins=True),
    Reads.INTERACTION_POLLED: lambda call: InteractionReader(call, begins=False),
    Reads.CHAT: lambda call: ChatReader(call, GEMINI_SHIM),
    Reads.SHIM_EMBEDDED: EmbeddingReader,
    Reads.SHIM_IMAGES: lambda call: ImagesReader(call, "data"),
}
# Their size is that of vectors and pixels, which nobody reads.
_SLIM = frozenset({Reads.EMBEDDED, Reads.SHIM_EMBEDDED, Reads.PREDICTIONS, Reads.SHIM_IMAGES})


class Gemini:
    """The provider, which prices call google."""

    name = NAME
    shape = Shape.GEMINI
    routes: tuple[Route, ...] = ROUTES
    default_headers: tuple[tuple[str, str], ...] = ()
    keyless = False

    def misrouted(self, method: str, raw_path: str) -> Problem | None:
        """Explain an unknown verb and a malformed path, with the published texts."""
        if method != "POST" or not raw_path.startswith(_PREFIXES):
            return None
        action = _ACTION.search(raw_path)
        if action is None or action[1] in _VERBS:
            return misrouted("Invalid request path. Expected: /v1beta/models/<model>:<action>")
        return misrouted(f"Unknown action: {action[1]}. Expected: {GENERATE} or {STREAM}")

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:
        """Take x-goog-api-key, else `?key=`, else an OAuth bearer token. A key never stays in the URL."""
        key = only_value(headers, "x-goog-api-key")
        if isinstance(key, Problem):
            return key
        secret = Secret(key) if key is not None else query_secret(raw_query, _KEY)
        if secret is not None:
            return Credential("x-goog-api-key", secret)
        value = only_value(headers, "authorization")
        if isinstance(value, Problem):
            return value
        token = bearer_token(value) if value else None
        if token is None:
            return missing_provider_key(self.shape)
        return Credential("Authorization", Secret(f"Bearer {token}"))

    def credential_of(self, key: Secret) -> Credential:
        """Send it as x-goog-api-key."""
        return Credential("x-goog-api-key", key)

    def upstream_query(self, raw_query: str) -> str:
        """Take the key out, and leave the rest."""
        return query_without(raw_query, _KEY)

    def read(self, target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:  # noqa: ARG002
        """Understand a request as its route says; what is not billable passes unread."""
        read = _READERS_OF_REQUESTS.get(target.route.bound)
        if read is not None:
            return read(target, body)
        operation = dict(target.names).get("operation")
        resource = f"models/{target.model}/operations/{operation}" if operation else ""
        return replace(passed_call(target, body), resource=resource)

    def framing(self, call: Call, content_type: str) -> Framing:
        """Tell events, the array that streams without `alt=sse`, a plain body, and what nobody reads."""
        if call.usage not in _READERS_OF_USAGE:
            return NoDocuments()
        # A single event can hold a whole image, and its usage behind that.
        if content_type.startswith("text/event-stream"):
            return SseParser(BODY_MAX)
        if call.usage in _SLIM:
            return SlimBody()
        return JsonArray() if call.operation == STREAM else WholeBody()

    def reader(self, call: Call) -> UsageReader:
        """Read an answer as its route says."""
        make = _READERS_OF_USAGE.get(call.usage)
        return NoUsage() if make is None else make(call)
