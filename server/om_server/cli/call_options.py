"""What holds for a key's calls, as it is typed and shown: `--on-disconnect [OPERATION=]POLICY`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from om_server.account.keys.call_settings import CallSettings, CallSettingsChange, OnDisconnect

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The contract's; on the database itself nobody else holds to it.
_OPERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_DEFAULT = "default"
_POLICIES = {
    "cancel": OnDisconnect.CANCEL,
    "drain": OnDisconnect.DRAIN,
    _DEFAULT: OnDisconnect.UNSPECIFIED,
}

OnDisconnectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on-disconnect",
        metavar="[OPERATION=]POLICY",
        help="Of callers who leave: cancel, drain, or default for what the proxy was set to. With an"
        " operation in front, such as chat=drain, of that one. Repeat for more.",
    ),
]
_CLAMP = "Lower an output cap to what the wallet affords, instead of refusing the call."
ClampOption = Annotated[bool, typer.Option("--clamp-output", help=_CLAMP)]
ClampChangeOption = Annotated[bool | None, typer.Option("--clamp-output/--no-clamp-output", help=_CLAMP)]


def change_of(on_disconnect: Sequence[str] | None, *, clamp_output: bool | None) -> CallSettingsChange:
    """Read the options; BadParameter says which word is none. Of several for the same the last one holds."""
    for_all: OnDisconnect | None = None
    by_operation: dict[str, OnDisconnect] = {}
    for text in on_disconnect or ():
        operation, equals, word = text.rpartition("=")
        policy = _POLICIES.get(word)
        if policy is None or (equals and not _OPERATION.fullmatch(operation)):
            raise typer.BadParameter("--on-disconnect takes cancel, drain or default, or OPERATION= and one")
        if equals:
            by_operation[operation] = policy
        else:
            for_all = policy
    return CallSettingsChange(for_all, tuple(by_operation.items()), clamp_output)


def described(calls: CallSettings) -> str:
    """Say the settings in the words in which they are typed."""
    leaving = [calls.on_disconnect.value or _DEFAULT]
    leaving += [f"{operation}={policy.value}" for operation, policy in calls.by_operation]
    return f"on disconnect {', '.join(leaving)}; clamp output {'yes' if calls.clamp_output else 'no'}"
