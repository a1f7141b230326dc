"""Series: everything that usage is told apart by, but time and tags. Pure."""

import hashlib
from typing import TypeAlias

import orjson

from om_server.analytics.settled import SettledLine
from om_server.core.event import Event
from om_server.core.value import value_type

_ID_BYTES = 16

#: The values of a series in the order of its fields.
Dimensions: TypeAlias = tuple[str, str, str, str, str, str, int | None, str, str, str, bool]


@value_type(frozen=True, slots=True)
class Series:
    """The dimensions of usage. Empty where an event had none."""

    team_id: str = ""
    key_id: str = ""
    customer_id: str = ""
    user_id: str = ""
    feature_id: str = ""
    prompt_key: str = ""
    prompt_version: int | None = None
    event_type: str = ""
    provider: str = ""
    model: str = ""
    sandbox: bool = False

    @property
    def dimensions(self) -> Dimensions:
        """The values in the order of the hash, which must never change."""
        return (
            self.team_id,
            self.key_id,
            self.customer_id,
            self.user_id,
            self.feature_id,
            self.prompt_key,
            self.prompt_version,
            self.event_type,
            self.provider,
            self.model,
            self.sandbox,
        )

    @property
    def series_id(self) -> str:
        """128 bits of SHA-256 in hex: the same for the same dimensions in every process."""
        return hashlib.sha256(orjson.dumps(self.dimensions)).digest()[:_ID_BYTES].hex()


def dimensions_of(event: Event, line: SettledLine | None) -> Dimensions:
    """Return where a line of an event belongs; without a line, provider and model stay empty."""
    attribution = event.attribution
    return (
        attribution.team_id,
        event.key_id,
        attribution.customer_id,
        attribution.user_id,
        attribution.feature_id,
        attribution.prompt_key,
        attribution.prompt_version,
        event.event_type.value,
        line.line.provider.lower() if line is not None else "",
        line.line.model if line is not None else "",
        event.sandbox,
    )
