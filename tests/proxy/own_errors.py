"""One of each error of the proxy's own, as it is made for the clients of a provider."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from om_proxy.dialects.aipromptcost import AiPromptCost
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem, Shape

#: By the name of the function that makes it.
MAKERS: dict[str, Callable[[Shape], Problem]] = {
    "missing_billing_headers": lambda _: problem.missing_billing_headers(),
    "invalid_api_key": lambda _: problem.invalid_api_key(),
    "missing_provider_key": problem.missing_provider_key,
    "missing_platform_key": lambda _: problem.missing_platform_key(),
    "missing_provider_header": lambda _: problem.missing_provider_header(),
    "upstream_timeout": problem.upstream_timeout,
    "upstream_unreachable": lambda shape: problem.upstream_unreachable(shape, sent=True),
    "proxy_error": lambda _: problem.proxy_error(),
    "insufficient_credits": lambda _: problem.insufficient_credits(
        needed_nanos=12_500_000_000, available_nanos=300_000_001, output_tokens_max=40
    ),
    "limit_reached": lambda _: problem.limit_reached(limit_id="lim_1", window="day"),
    "wallet_blocked": lambda _: problem.wallet_blocked(),
    "user_wallet_required": lambda _: problem.user_wallet_required(),
    "price_unknown": lambda _: problem.price_unknown(provider="openai", model="gpt-9"),
    "cost_unbounded": lambda _: problem.cost_unbounded("tools[0].max_uses"),
    "invalid_json": lambda _: problem.invalid_json(),
    "invalid_field": lambda _: problem.invalid_field("_aipromptcost.version"),
    "invalid_header": lambda _: problem.invalid_header("X-OM-User-Id"),
    "ambiguous_header": lambda _: problem.ambiguous_header("X-Provider-Key"),
    "misrouted": lambda _: problem.misrouted("Unknown action: x"),
    "unknown_route": lambda _: problem.unknown_route(),
    "body_too_large": lambda _: problem.body_too_large(1_000),
    "encoded_body": lambda _: problem.encoded_body(),
    "request_timeout": lambda _: problem.request_timeout(),
    "malformed_request": lambda _: problem.malformed_request(),
    "upgrade_refused": lambda _: problem.upgrade_refused(),
    "unavailable": lambda _: problem.unavailable(),
}


def own_errors(shape: Shape) -> dict[str, Problem]:
    """Give each, and again the one that the path dialect says in other words."""
    made = {name: make(shape) for name, make in MAKERS.items()}
    return made | {"invalid_api_key, by path": AiPromptCost().worded(problem.invalid_api_key())}


def makers_of_the_code() -> set[str]:
    """Name every function that makes an error."""
    tree = ast.parse(Path(problem.__file__).read_text(encoding="utf-8"))
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
