"""The usage event as a value: what intake queues, settlement charges and analytics shows.

It mirrors `om.type.v1.UsageEvent`. Empty strings stand for ids that were not given; times are
microseconds since 1970 in UTC.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import TYPE_CHECKING

from om_server.core.usage import Usage
from om_server.core.value import value_type

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The source of events that edges report. Nobody else may use it.
SOURCE_PROXY = "proxy"
#: The source of events that name none.
SOURCE_API = "api"


class EventType(enum.StrEnum):
    """What kind of consumption an event reports; the names are the contract's."""

    TOKEN_USAGE = "TOKEN_USAGE"  # noqa: S105 - tokens of a model, not a secret
    IMAGE_GENERATION = "IMAGE_GENERATION"
    VIDEO_GENERATION = "VIDEO_GENERATION"
    AUDIO_PROCESSING = "AUDIO_PROCESSING"
    API_CALL = "API_CALL"
    FEATURE_ACCESS = "FEATURE_ACCESS"
    CUSTOM = "CUSTOM"


class Outcome(enum.StrEnum):
    """How an admitted call ended. Every intent ends in exactly one."""

    CHARGED = "CHARGED"
    ZERO = "ZERO"
    ESTIMATED = "ESTIMATED"
    DEFERRED = "DEFERRED"
    UNKNOWN = "UNKNOWN"


@value_type(frozen=True, slots=True)
class Attribution:
    """To whom and to what consumption belongs."""

    customer_id: str = ""
    user_id: str = ""
    team_id: str = ""
    feature_id: str = ""
    prompt_key: str = ""
    prompt_version: int | None = None
    tags: tuple[str, ...] = ()


@value_type(frozen=True, slots=True)
class UsageLine:
    """Consumption at one model. `model` served; `requested_model` is empty if it is the same."""

    provider: str
    model: str
    usage: Usage
    requested_model: str = ""
    tier: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    raw_usage: str = ""


@value_type(frozen=True, slots=True)
class Funding:
    """A part of a lease that paid for an event, in nano-credits."""

    lease_id: str
    bound: int
    retained: int


@value_type(frozen=True, slots=True)
class EdgePosition:
    """Where in an edge's journal an event stands."""

    edge_id: str
    edge_epoch: int
    sequence: int


@value_type(frozen=True, slots=True)
class Event:
    """A fact about usage. Identity: organization, source, event_id."""

    organization_id: str
    source: str
    event_id: str
    event_type: EventType
    event_time: int
    receive_time: int
    attribution: Attribution
    lines: tuple[UsageLine, ...]
    outcome: Outcome = Outcome.CHARGED
    metadata_json: str = "{}"
    idempotency_key: str = ""
    sandbox: bool = False
    key_id: str = ""
    edge: EdgePosition | None = None
    funding: tuple[Funding, ...] = ()
    wallet_id: str = ""
    unfunded: bool = False
    job_id: str = ""
    http_status: int = 0
    latency_ms: int | None = None
    flags: tuple[str, ...] = ()
    payload_hash: str = ""
    #: The W3C traceparent of the request that consumed, where somebody traces it.
    trace_parent: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes the event itself, whatever is re-sent."""
        return self.organization_id, self.source, self.event_id

    @property
    def chargeable(self) -> bool:
        """Whether there is anything to rate."""
        return not self.sandbox and self.outcome is not Outcome.ZERO
