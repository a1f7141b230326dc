"""Which events belong to a job."""

import dataclasses

import pytest

from om_server.core.event import Attribution, EdgePosition, Event, EventType, Outcome, UsageLine
from om_server.core.usage import Usage
from om_server.ingestion.job import JobKey
from om_server.pipeline.job_event import deferred_job, ended_job, terminal_key

CALL = Event(
    organization_id="org_1",
    source="proxy",
    event_id="evt_1",
    event_type=EventType.TOKEN_USAGE,
    event_time=0,
    receive_time=0,
    attribution=Attribution(),
    lines=(UsageLine("Gemini", "veo", Usage(())),),
    outcome=Outcome.DEFERRED,
    edge=EdgePosition("edg_1", 1, 1),
    job_id="models/veo/operations/1",
)
END = dataclasses.replace(CALL, event_id="job:google:models/veo/operations/1", outcome=Outcome.CHARGED)
KEY = JobKey("org_1", "google", "models/veo/operations/1")


def test_a_call_and_the_end_of_its_job_name_the_same_job() -> None:
    assert deferred_job(CALL) == ended_job(END) == KEY


@pytest.mark.parametrize(
    "event_id", ["evt_1", "job", "job:", "job:openai", "job:openai:", "job::x", "job: :x", "jobs:a:b"]
)
def test_other_ids_end_no_job(event_id: str) -> None:
    assert terminal_key("org_1", event_id) is None


def test_a_job_may_have_colons_in_its_name() -> None:
    assert terminal_key("org_1", "job:aws:arn:aws:bedrock") == JobKey("org_1", "aws", "arn:aws:bedrock")


@pytest.mark.parametrize("outcome", [Outcome.DEFERRED, Outcome.UNKNOWN])
def test_an_end_that_nobody_saw_ends_no_job(outcome: Outcome) -> None:
    assert ended_job(dataclasses.replace(END, outcome=outcome)) is None


def test_only_edges_report_jobs() -> None:
    assert ended_job(dataclasses.replace(END, edge=None)) is None
    assert deferred_job(dataclasses.replace(CALL, edge=None)) is None
    assert deferred_job(dataclasses.replace(CALL, outcome=Outcome.CHARGED)) is None


@pytest.mark.parametrize("changes", [{"job_id": ""}, {"lines": ()}])
def test_a_call_that_names_no_job_is_known_by_its_own_name(changes: dict[str, object]) -> None:
    call = dataclasses.replace(CALL, **changes)  # type: ignore[arg-type] # A table's row.

    key = deferred_job(call)

    assert key == JobKey("org_1", "", "proxy:evt_1")
    assert terminal_key("org_1", f"job::{key.job_id}") is None
