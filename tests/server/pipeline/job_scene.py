"""Deferred work, for tests of settlement: the call that began it, and the object that ended it."""

import dataclasses

from om_server.core.event import SOURCE_PROXY, EdgePosition, Event, Outcome, UsageLine
from om_server.core.page import PageRequest
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion.job import Job, JobKey
from om_server.wallet.holds.escrow import Escrow
from om_server.wallet.leases.lease import Lease
from tests.server.pipeline.edge_scene import outcome
from tests.server.pipeline.harness import Tenant, World, tokens

HOUR_S = 3600
DAY_S = 24 * HOUR_S
JOB = "batch_1"
OTHER_EDGE = "edg_" + "9" * 26
#: What a call says of the job that it began: who does it, and nothing of what it will use.
STARTED = (UsageLine("openai", "gpt-4o", Usage((Quantity("input_tokens", None, Certainty.UNKNOWN),))),)


def deferred(world: World, tenant: Tenant, lease: Lease, event_id: str = "evt_1", **changes: object) -> Event:
    """The outcome of a call that left a job behind and kept its whole lease."""
    started: dict[str, object] = {"outcome": Outcome.DEFERRED, "lines": STARTED, "job_id": JOB}
    return outcome(world, tenant, lease, event_id, **(started | changes))


def terminal(world: World, tenant: Tenant, job_id: str = JOB, **changes: object) -> Event:
    """The end of a job that used 200 tokens, as another edge saw it: no lease, no wallet, its own team."""
    event = world.event(
        tenant,
        str(changes.pop("event_id", f"job:openai:{job_id}")),
        source=SOURCE_PROXY,
        lines=(tokens(200),),
        edge=EdgePosition(OTHER_EDGE, 1, 7),
    )
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type] # A table's row.


def job_of(world: World, tenant: Tenant, job_id: str = JOB) -> Job | None:
    return world.ingestion.find_job(JobKey(tenant.organization_id, "openai", job_id))


def suspense_of(world: World, tenant: Tenant) -> list[Escrow]:
    return list(world.wallet.list_suspense(tenant.organization_id, page=PageRequest.of()).suspense)


def wait(world: World, seconds: int = DAY_S) -> bool:
    """Let time pass, and let a worker do its chore; tell whether there was any."""
    world.clock.advance(seconds)
    return world.job_deadlines.advance()
