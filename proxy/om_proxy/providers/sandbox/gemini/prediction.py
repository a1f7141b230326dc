"""Gemini's pictures and videos: Imagen answers at once, Veo with an operation that is polled."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.gemini.answer import object_reply
from om_proxy.providers.sandbox.gemini.names import camel_case, existing
from om_proxy.providers.sandbox.picture import PNG_TEXT
from om_proxy.providers.sandbox.ticket import read_ticket, write_ticket

_SAMPLES_MAX = 8
_SECONDS_DEFAULT = 8


def predict(call: Call, model: str, body: Body) -> Reply:
    """Answer :predict with pictures; those that a switch withholds are missing."""
    existing(model)
    samples = _samples(body)
    shown = max(0, samples - call.switches.filtered)
    pictures = [{"mimeType": "image/png", "bytesBase64Encoded": PNG_TEXT}] * shown
    withheld = [{"raiFilteredReason": "The picture was withheld."}] if shown < samples else []
    return object_reply(call, {"predictions": [*pictures, *withheld]})


def begin(call: Call, model: str, body: Body) -> Reply:
    """Answer :predictLongRunning; the operation's name tells what was ordered."""
    name = existing(model)
    seconds = camel_case(body.section("parameters")).integer("durationSeconds") or _SECONDS_DEFAULT
    facts = {"n": _samples(body), "s": seconds}
    operation = write_ticket(call, "", facts)
    return object_reply(call, {"name": f"models/{name}/operations/{operation}"})


def poll(call: Call) -> Reply:
    """Answer GET of an operation: done, unless a switch says where it stands."""
    name = call.incoming.path.split("/", 2)[2]
    facts = read_ticket(call, "", name.rpartition("/")[2])
    if facts is None:
        raise Refused(Problem(404))
    if call.switches.status in {"queued", "in_progress"}:
        return object_reply(call, {"name": name})
    if call.switches.status is not None:
        error = {"code": 13, "message": "Video generation failed due to an internal server issue."}
        return object_reply(call, {"name": name, "done": True, "error": error})
    samples = [
        {"video": {"uri": f"https://videos.invalid/{index}:download?alt=media"}}
        for index in range(min(facts.integer("n") or 1, _SAMPLES_MAX))
    ]
    response = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse",
        "generateVideoResponse": {"generatedSamples": samples},
    }
    return object_reply(call, {"name": name, "done": True, "response": response})


def _samples(body: Body) -> int:
    if not body.items("instances"):
        raise Refused(Problem(400, "* PredictRequest.instances: instances is not specified\n"))
    samples = camel_case(body.section("parameters")).integer("sampleCount")
    if samples is not None and not 1 <= samples <= _SAMPLES_MAX:
        raise Refused(Problem(400, f"sampleCount must be between 1 and {_SAMPLES_MAX}"))
    return samples or 1
