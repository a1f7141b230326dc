"""Which of two events settles a job, at which time, and what the other one means then."""

import pytest

from om_server.ingestion.job import JOB_WAIT, Arrival, Job, JobKey, JobState

KEY = JobKey("org_1", "openai", "batch_1")
CALL = ("proxy", "evt_1")
NEW = Job(KEY)
DEFERRED, _ = NEW.defer(CALL, now=5)
PARKED, _ = NEW.end("envelope", now=5)


@pytest.mark.parametrize("job", [DEFERRED, PARKED])
def test_who_comes_first_waits_a_day(job: Job) -> None:
    assert job.due_time == 5 + JOB_WAIT == 5 + 24 * 3600 * 10**6
    assert not job.overdue(5 + JOB_WAIT - 1)
    assert job.overdue(5 + JOB_WAIT)


def test_a_call_keeps_its_name_and_an_end_its_envelope() -> None:
    assert (DEFERRED.state, DEFERRED.identity, DEFERRED.terminal) == (JobState.DEFERRED, CALL, "")
    assert (PARKED.state, PARKED.terminal) == (JobState.PARKED, "envelope")


@pytest.mark.parametrize("waiting", [DEFERRED, DEFERRED.give_up()])
def test_an_end_completes_a_call_however_late(waiting: Job) -> None:
    job, arrival = waiting.end("envelope", now=9)

    assert arrival is Arrival.COMPLETES
    assert (job.state, job.identity, job.terminal, job.due_time) == (JobState.COMPLETE, CALL, "", None)


def test_a_call_completes_an_end_that_waits() -> None:
    job, arrival = PARKED.defer(CALL, now=9)

    assert arrival is Arrival.COMPLETES
    assert (job.state, job.identity, job.terminal, job.due_time) == (JobState.COMPLETE, CALL, "", None)


@pytest.mark.parametrize(
    "job", [DEFERRED, DEFERRED.give_up(), PARKED.give_up(), PARKED.defer(CALL, now=9)[0]]
)
def test_another_call_changes_nothing(job: Job) -> None:
    assert job.defer(("proxy", "evt_2"), now=9) == (job, Arrival.REPEATS)


@pytest.mark.parametrize("job", [PARKED, PARKED.give_up(), PARKED.defer(CALL, now=9)[0]])
def test_another_end_changes_nothing(job: Job) -> None:
    assert job.end("other", now=9) == (job, Arrival.REPEATS)


def test_nobody_waits_twice() -> None:
    for job, state in ((DEFERRED, JobState.SUSPENDED), (PARKED, JobState.ALONE)):
        ended = job.give_up()
        assert (ended.state, ended.terminal, ended.overdue(10**20)) == (state, "", False)
