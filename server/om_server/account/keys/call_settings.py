"""What a key says about its calls, for those that say nothing themselves. Proxies read it with the key."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from om_server.core.errors import InvalidArgument

_OPERATIONS_MAX = 64


class OnDisconnect(enum.StrEnum):
    """What becomes of a call whose caller leaves."""

    UNSPECIFIED = ""
    CANCEL = "cancel"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What holds for the calls of a key. `by_operation` is sorted, and wins over `on_disconnect`."""

    on_disconnect: OnDisconnect = OnDisconnect.UNSPECIFIED
    by_operation: tuple[tuple[str, OnDisconnect], ...] = ()
    clamp_output: bool = False


@dataclass(frozen=True, slots=True)
class CallSettingsChange:
    """What shall be different; None stays. An operation that is given as unspecified is taken out."""

    on_disconnect: OnDisconnect | None = None
    by_operation: tuple[tuple[str, OnDisconnect], ...] = ()
    clamp_output: bool | None = None

    def applied(self, settings: CallSettings) -> CallSettings:
        """Return the settings after the change."""
        return CallSettings(
            settings.on_disconnect if self.on_disconnect is None else self.on_disconnect,
            by_operation(dict(settings.by_operation) | dict(self.by_operation)),
            settings.clamp_output if self.clamp_output is None else self.clamp_output,
        )


def by_operation(policies: Mapping[str, OnDisconnect]) -> tuple[tuple[str, OnDisconnect], ...]:
    """Sort what is said of operations, and leave out what says nothing."""
    said = tuple(sorted((name, policy) for name, policy in policies.items() if policy))
    if len(said) > _OPERATIONS_MAX:
        raise InvalidArgument("on_disconnect_by_operation", f"more than {_OPERATIONS_MAX} operations")
    return said


def written(policies: tuple[tuple[str, OnDisconnect], ...]) -> str:
    """Return what a row holds of them."""
    return ",".join(f"{name}={policy.value}" for name, policy in policies)


def read(text: str) -> tuple[tuple[str, OnDisconnect], ...]:
    """Return what a row says. Names of operations hold neither a comma nor an equals sign."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return tuple((name, OnDisconnect(policy)) for name, _, policy in pairs)
