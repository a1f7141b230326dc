"""Which events belong to a job."""

import dataclasses

import pytest

from om_server.core.event import Attribution, EdgePosition, Event, EventType, Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion.job import JobKey
from om_server.pipeline.job_event import deferred_job, ended, ended_job, part_of_batch, terminal_key

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


SECONDS = UsageLine("google", "veo", Usage((Quantity("video_seconds", 8_000),)))
UNKNOWN = UsageLine("google", "veo", Usage((Quantity("video_seconds", None, Certainty.UNKNOWN),)))


def test_what_only_the_request_said_is_taken_from_the_call() -> None:
    call = dataclasses.replace(CALL, lines=(SECONDS,))

    seen = dataclasses.replace(END, lines=(UNKNOWN,), outcome=Outcome.ESTIMATED)
    assumed = dataclasses.replace(
        SECONDS, usage=Usage((Quantity("video_seconds", 8_000, Certainty.ESTIMATED),))
    )

    assert ended(call, seen).lines == (SECONDS,)
    assert ended(call, seen).outcome is Outcome.CHARGED
    assert ended(dataclasses.replace(CALL, lines=(assumed,)), seen).outcome is Outcome.ESTIMATED
    # A job that failed is free, whatever was asked for.
    assert ended(call, dataclasses.replace(END, lines=(), outcome=Outcome.ZERO)).lines == ()


def test_what_neither_knows_stays_unknown() -> None:
    end = dataclasses.replace(END, lines=(UNKNOWN,))

    assert ended(CALL, end).lines == (UNKNOWN,)
    assert ended(dataclasses.replace(CALL, lines=(UNKNOWN,)), end).lines == (UNKNOWN,)


def test_an_end_that_knows_is_believed_more_than_the_request() -> None:
    shorter = dataclasses.replace(SECONDS, usage=Usage.measured(video_seconds=4_000))

    assert ended(
        dataclasses.replace(CALL, lines=(SECONDS,)), dataclasses.replace(END, lines=(shorter,))
    ).lines == (shorter,)


@pytest.mark.parametrize(
    ("changes", "is_part"),
    [
        ({}, True),
        ({"edge": None}, False),
        ({"wallet_id": "wal_1"}, False),
        ({"event_id": "part:"}, False),
        ({"event_id": "parts:anthropic:b:c"}, False),
        ({"event_id": "evt_1"}, False),
    ],
)
def test_only_a_result_that_an_edge_saw_is_part_of_a_batch(
    changes: dict[str, object], *, is_part: bool
) -> None:
    result = dataclasses.replace(CALL, event_id="part:anthropic:msgbatch_1:a", outcome=Outcome.CHARGED)
    result = dataclasses.replace(result, **changes)  # type: ignore[arg-type] # A table's row.

    assert part_of_batch(result) is is_part
    assert ended_job(result) is None
