"""OpenAI's routes, as data: what each is, how its request is bounded, and how its usage is read."""

from __future__ import annotations

from collections.abc import Collection

from om_proxy.call.route import Route

_CHAT = ("last usage", "text, output cap, n")
_COMPLETION = ("last usage", "text, output cap, n, best_of")
_RESPONSES = ("terminal response", "text, output cap, tool calls")
_EMBEDDINGS = ("usage", "text")
_IMAGES = ("image usage, else pieces", "images, n, size")
_HEARD = ("audio usage, else seconds", "recording")
_SPOKEN = ("speech usage, else characters", "characters")
_VIDEO = ("video job", "seconds")
_BATCH = ("batch job", "none")
# Not charged; but who polls may be the first to see the end of what was deferred.
_RESPONSE_END = ("end of a background response", "")
_VIDEO_END = ("end of a video", "")
_BATCH_END = ("end of a batch", "")
_FREE = ("", "")

#: Method, path, operation, how usage is read, how the bound is read.
_ROWS = (
    ("POST", "/chat/completions", "chat", *_CHAT),
    ("GET", "/chat/completions", "stored chat", *_FREE),
    ("GET", "/chat/completions/{completion_id}", "stored chat", *_FREE),
    ("GET", "/chat/completions/{completion_id}/messages", "stored chat", *_FREE),
    ("POST", "/chat/completions/{completion_id}", "stored chat", *_FREE),
    ("DELETE", "/chat/completions/{completion_id}", "stored chat", *_FREE),
    ("POST", "/completions", "completion", *_COMPLETION),
    ("POST", "/responses", "responses", *_RESPONSES),
    ("POST", "/responses/compact", "compact", *_RESPONSES),
    ("POST", "/responses/input_tokens", "input tokens", *_FREE),
    ("GET", "/responses/{response_id}", "response", *_RESPONSE_END),
    ("POST", "/responses/{response_id}/cancel", "response", *_RESPONSE_END),
    ("GET", "/responses/{response_id}/input_items", "response", *_FREE),
    ("DELETE", "/responses/{response_id}", "response", *_FREE),
    ("POST", "/embeddings", "embeddings", *_EMBEDDINGS),
    ("POST", "/images/generations", "image", *_IMAGES),
    ("POST", "/images/edits", "image edit", *_IMAGES),
    ("POST", "/images/variations", "image variation", *_IMAGES),
    ("POST", "/audio/transcriptions", "transcription", *_HEARD),
    ("POST", "/audio/translations", "translation", *_HEARD),
    ("POST", "/audio/speech", "speech", *_SPOKEN),
    ("POST", "/videos", "video", *_VIDEO),
    ("POST", "/videos/edits", "video edit", *_VIDEO),
    ("POST", "/videos/extensions", "video extension", *_VIDEO),
    ("POST", "/videos/{video_id}/remix", "video remix", *_VIDEO),
    ("GET", "/videos", "videos", *_FREE),
    ("GET", "/videos/{video_id}", "videos", *_VIDEO_END),
    ("GET", "/videos/{video_id}/content", "videos", *_FREE),
    ("DELETE", "/videos/{video_id}", "videos", *_FREE),
    ("POST", "/moderations", "moderation", *_FREE),
    ("GET", "/models", "models", *_FREE),
    ("GET", "/models/{model}", "models", *_FREE),
    ("DELETE", "/models/{model}", "models", *_FREE),
    ("POST", "/batches", "batch", *_BATCH),
    ("GET", "/batches", "batches", *_FREE),
    ("GET", "/batches/{batch_id}", "batches", *_BATCH_END),
    ("POST", "/batches/{batch_id}/cancel", "batches", *_BATCH_END),
    ("POST", "/files", "files", *_FREE),
    ("GET", "/files", "files", *_FREE),
    ("GET", "/files/{file_id}", "files", *_FREE),
    ("GET", "/files/{file_id}/content", "files", *_FREE),
    ("DELETE", "/files/{file_id}", "files", *_FREE),
    ("POST", "/vector_stores", "vector stores", *_FREE),
    ("GET", "/vector_stores", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}", "vector stores", *_FREE),
    ("DELETE", "/vector_stores/{store_id}", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}/search", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}/files", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}/files", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}/files/{file_id}", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}/files/{file_id}", "vector stores", *_FREE),
    ("DELETE", "/vector_stores/{store_id}/files/{file_id}", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}/files/{file_id}/content", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}/file_batches", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}/file_batches/{batch_id}", "vector stores", *_FREE),
    ("POST", "/vector_stores/{store_id}/file_batches/{batch_id}/cancel", "vector stores", *_FREE),
    ("GET", "/vector_stores/{store_id}/file_batches/{batch_id}/files", "vector stores", *_FREE),
)
#: Where clients find them here, whatever the provider puts in front.
_VERSION = "/v1"
#: In this dialect of Azure's the path names the deployment, which is the caller's word for a model.
_DEPLOYED = "/openai/deployments/{model}"

OPERATIONS = frozenset(row[2] for row in _ROWS)


def routes_of(
    provider: str,
    *,
    prefix: str = _VERSION,
    operations: Collection[str] = OPERATIONS,
    deployments: bool = False,
) -> tuple[Route, ...]:
    """Write the routes of a provider that offers these operations behind its own prefix."""
    routes = []
    for method, path, operation, usage, bound in _ROWS:
        if operation not in operations:
            continue
        at = [(path, prefix + path)]
        if deployments and bound:
            at.append((_DEPLOYED + path, _DEPLOYED + path))
        for ours, theirs in at:
            own = _VERSION + ours
            moved = own != theirs
            routes.append(
                Route(
                    provider,
                    method,
                    own,
                    operation,
                    billable=bool(bound),
                    upstream_path=theirs if moved else "",
                    usage=usage,
                    bound=bound,
                    simulated_path=_VERSION + path if moved else "",
                )
            )
    return tuple(routes)
