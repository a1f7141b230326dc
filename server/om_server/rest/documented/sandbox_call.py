"""A simulated call of the sandbox: no provider is asked, and of the prompt only its length is kept."""

from dataclasses import dataclass
from decimal import Decimal

from om.rating.v1 import rating_service_pb2 as rating_pb
from om.type.v1 import event_pb2, usage_pb2
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.usage import SECONDS_STEP
from om_server.rest.documented.figure import exact
from om_server.rest.documented.json_body import JsonBody

_CHARACTERS_PER_TOKEN = 4
_OUTPUT_TOKENS = 150
_PROMPT_MAX = 1_000_000
_TEXT, _IMAGE, _VIDEO = "text", "image", "video"
_MODELS = {_TEXT: "o1-preview", _IMAGE: "dall-e-3", _VIDEO: "veo-3-video"}
_FEATURES = {_TEXT: "sandbox-llm", _IMAGE: "sandbox-image", _VIDEO: "sandbox-video"}
_EVENT_TYPES = {
    _TEXT: event_pb2.EVENT_TYPE_TOKEN_USAGE,
    _IMAGE: event_pb2.EVENT_TYPE_IMAGE_GENERATION,
    _VIDEO: event_pb2.EVENT_TYPE_VIDEO_GENERATION,
}
_CONTENT = "Simulation Successful: Event metered and recorded based on active pricing."


@dataclass(frozen=True, slots=True)
class SandboxCall:
    """What the call would have consumed."""

    kind: str
    line: event_pb2.UsageLine

    def event(self, event_id: str) -> event_pb2.UsageEvent:
        """The event that reports it: of the sandbox, so that it is shown and never charged."""
        return event_pb2.UsageEvent(
            event_id=event_id,
            type=_EVENT_TYPES[self.kind],
            attribution=event_pb2.Attribution(feature_id=_FEATURES[self.kind]),
            lines=[self.line],
            sandbox=True,
        )

    def body(self, event_id: str, rating: rating_pb.Rating, *, now_us: int) -> dict[str, object]:
        """The published answer, in the shape of a completion. The cost is what a real call would have."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": _CONTENT},
            "finish_reason": "stop",
        }
        return {
            "id": event_id,
            "object": "chat.completion" if self.kind == _TEXT else "image.generation",
            "created": now_us // MICROS_PER_SECOND,
            "model": self.line.model,
            "choices": [choice],
            "usage": self._usage()
            | {
                "estimated_cost_credits": exact(rating.charge.amount_nanos),
                "estimated_cost_usd": exact(rating.cost.amount_nanos) if rating.HasField("cost") else None,
            },
        }

    def _usage(self) -> dict[str, object]:
        amounts = {quantity.unit: quantity.amount for quantity in self.line.usage.quantities}
        if self.kind == _TEXT:
            prompt, completion = amounts["input_tokens"], amounts["output_tokens"]
            return {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        if self.kind == _IMAGE:
            return {"image_count": amounts["images"]}
        return {"duration_seconds": exact(amounts["video_seconds"] * 10**9 // SECONDS_STEP)}


def read_call(body: JsonBody) -> SandboxCall:
    """Read a call with the published defaults. Problems are noted in the body."""
    prompt = body.text("prompt", required=True, most=_PROMPT_MAX)
    kind = body.choice("type", {name: name for name in _MODELS}) or _TEXT
    model = body.text("model") or _MODELS[kind]
    line = event_pb2.UsageLine(
        provider=body.text("provider", most=128) or _provider(kind, model), model=model
    )
    count = body.integer("count", least=1, most=1000) or 1
    seconds = body.number("duration", above=0) or Decimal(1)
    if kind == _TEXT:
        _add(line, "input_tokens", -(-len(prompt) // _CHARACTERS_PER_TOKEN))
        _add(line, "output_tokens", _OUTPUT_TOKENS)
    elif kind == _IMAGE:
        _add(line, "images", count)
        line.attributes["size"] = body.text("size") or "1024x1024"
        line.attributes["quality"] = body.text("quality") or "hd"
    else:
        _add(line, "video_seconds", min(round(seconds * SECONDS_STEP) * count, 2**53))
    return SandboxCall(kind, line)


def _provider(kind: str, model: str) -> str:
    return "GOOGLE" if kind == _VIDEO or "veo" in model.lower() else "OPENAI"


def _add(line: event_pb2.UsageLine, unit: str, amount: int) -> None:
    line.usage.quantities.add(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED)
