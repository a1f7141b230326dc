"""What OpenAI's operations refuse alike: fields that are missing or out of range, and unknown models."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Problem, Refused
from om_proxy.providers.sandbox.script import require_model


def required_model(body: Body) -> str:
    """Read the model, or refuse a request without one or for one that does not exist."""
    model = body.text("model")
    if not model:
        raise Refused(Problem(400, "you must provide a model parameter"))
    return known_model(model)


def known_model(model: str) -> str:
    """Give the model's own name, or refuse one that does not exist."""
    return require_model(model, f"The model `{model}` does not exist or you do not have access to it.")


def missing(name: str) -> Refused:
    """Refuse because a field is missing."""
    message = f"Missing required parameter: '{name}'."
    return Refused(Problem(400, message, code="missing_required_parameter", param=name))


def several(body: Body, name: str, maximum: int) -> int:
    """Read how many are asked for; absent is one."""
    count = body.integer(name)
    if count is None:
        return 1
    return in_range(count, name, maximum)


def in_range(count: int, name: str, maximum: int) -> int:
    """Refuse a count that is too small or too large."""
    if not 1 <= count <= maximum:
        message = f"Invalid value for '{name}': expected between 1 and {maximum}."
        raise Refused(Problem(400, message, code="integer_out_of_range", param=name))
    return count


def stream_options(body: Body) -> Body:
    """Read the options of a stream, or refuse them where there is none."""
    options = body.section("stream_options")
    if options.fields and not body.flag("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(Problem(400, message, param="stream_options"))
    return options
