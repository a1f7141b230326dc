"""What is forwarded to Gemini: under each version that its SDKs use, and none."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from om_proxy.call.route import Route
from om_proxy.providers.gemini.interaction import IN_BACKGROUND
from om_proxy.providers.gemini.request import GENERATE, STREAM

NAME: Final = "google"
#: Older SDKs and the documentation say v1beta, newer ones v1, and the setting may be empty.
VERSIONS: Final = ("/v1beta", "/v1", "")
SHIM: Final = "/v1beta/openai"


class Reads(StrEnum):
    """How the usage of an answer is read."""

    GENERATED = "usageMetadata of the last frame"
    EMBEDDED = "usageMetadata, if any"
    PREDICTIONS = "images that came back"
    OPERATION_BEGUN = "video operation"  # None yet: it is known by its name.
    OPERATION = "end of a video operation"  # How much it made was said in the request.
    CACHE = "tokens x hours of a cache"
    INTERACTION = "usage of an interaction"
    INTERACTION_IN_BACKGROUND = IN_BACKGROUND
    INTERACTION_POLLED = "end of a background interaction"
    CHAT = "last usage, thinking by its total"
    SHIM_EMBEDDED = "usage, if any"
    SHIM_IMAGES = "pieces"
    NONE = ""


class Bounds(StrEnum):
    """How the most that a call may consume is read from its request."""

    CONTENT = "text, output cap, candidateCount"
    EMBEDDING = "text"
    IMAGES = "sampleCount"
    VIDEO = "sampleCount x durationSeconds"
    CACHE = "text x ttl"
    INTERACTION = "text, output cap"
    CHAT = "text, output cap, n"
    SHIM_EMBEDDING = "input"
    SHIM_IMAGES = "n"
    NOTHING = ""


def _free(method: str, path: str, operation: str, usage: Reads = Reads.NONE) -> Route:
    return Route(NAME, method, path, operation, billable=False, usage=usage, bound=Bounds.NOTHING)


def _of_models(version: str) -> tuple[Route, ...]:
    models, tuned = f"{version}/models/{{model}}", f"{version}/tunedModels/{{model}}"
    generating = tuple(
        route
        for model in (models, tuned)
        for route in (
            _post(f"{model}:{GENERATE}", GENERATE, Reads.GENERATED, Bounds.CONTENT),
            _post(f"{model}:{STREAM}", STREAM, Reads.GENERATED, Bounds.CONTENT),
            _free("POST", f"{model}:countTokens", "countTokens"),
        )
    )
    return (
        *generating,
        _post(f"{models}:embedContent", "embedContent", Reads.EMBEDDED, Bounds.EMBEDDING),
        _post(f"{models}:batchEmbedContents", "batchEmbedContents", Reads.EMBEDDED, Bounds.EMBEDDING),
        _post(f"{models}:predict", "predict", Reads.PREDICTIONS, Bounds.IMAGES),
        _post(f"{models}:predictLongRunning", "predictLongRunning", Reads.OPERATION_BEGUN, Bounds.VIDEO),
        _free("GET", f"{models}/operations/{{operation}}", "operation", Reads.OPERATION),
        _free("GET", f"{version}/models", "models"),
        _free("GET", models, "model"),
    )


def _of_resources(version: str) -> tuple[Route, ...]:
    caches, files = f"{version}/cachedContents", f"{version}/files"
    interactions = f"{version}/interactions"
    return (
        _post(caches, "cachedContents", Reads.CACHE, Bounds.CACHE),
        _free("GET", caches, "list_cachedContents"),
        _free("GET", f"{caches}/{{cache}}", "get_cachedContent"),
        _free("DELETE", f"{caches}/{{cache}}", "delete_cachedContent"),
        _post(interactions, "interactions", Reads.INTERACTION, Bounds.INTERACTION),
        _free("GET", f"{interactions}/{{interaction}}", "interaction", Reads.INTERACTION_POLLED),
        _free("DELETE", f"{interactions}/{{interaction}}", "delete_interaction"),
        _free(
            "POST", f"{interactions}/{{interaction}}/cancel", "cancel_interaction", Reads.INTERACTION_POLLED
        ),
        _free("POST", f"/upload{files}", "upload_file"),
        _free("GET", files, "files"),
        _free("GET", f"{files}/{{file}}", "file"),
        _free("DELETE", f"{files}/{{file}}", "delete_file"),
    )


def _post(path: str, operation: str, usage: Reads, bound: Bounds) -> Route:
    return Route(NAME, "POST", path, operation, usage=usage, bound=bound)


ROUTES: Final = (
    *(route for version in VERSIONS for route in _of_models(version)),
    *(route for version in VERSIONS for route in _of_resources(version)),
    _post(f"{SHIM}/chat/completions", "chat", Reads.CHAT, Bounds.CHAT),
    _post(f"{SHIM}/embeddings", "embeddings", Reads.SHIM_EMBEDDED, Bounds.SHIM_EMBEDDING),
    _post(f"{SHIM}/images/generations", "images", Reads.SHIM_IMAGES, Bounds.SHIM_IMAGES),
    _free("GET", f"{SHIM}/models", "shim_models"),
    _free("GET", f"{SHIM}/models/{{model}}", "shim_model"),
)
