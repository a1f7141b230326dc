"""Jobs as they are kept: one row for each, whoever claims it and however many at once."""

import dataclasses

import pytest

from om_server.ingestion.job import JOB_WAIT, Job, JobKey, JobState
from om_server.ingestion.job_store import JobStore
from om_server.storage.database import Database

#: More than one statement takes.
MANY = 1_001
CALL = ("proxy", "evt_1")


@pytest.fixture(name="jobs")
def make_jobs(database: Database) -> JobStore:
    return JobStore(database)


def key(job_id: str, *, organization_id: str = "org_1", provider: str = "openai") -> JobKey:
    return JobKey(organization_id, provider, job_id)


def claim(database: Database, jobs: JobStore, *keys: JobKey, now: int = 0) -> dict[JobKey, Job]:
    """Claim jobs, and note a call for each that is new."""

    def run() -> dict[JobKey, Job]:
        found = jobs.claim(keys, now=now)
        new = [job for job in found.values() if job.state is JobState.NEW]
        jobs.save([job.defer(CALL, now=now)[0] for job in new])
        return found

    return database.write(run)


def test_a_job_is_new_once_and_then_as_it_was_saved(database: Database, jobs: JobStore) -> None:
    keys = [key(f"job-{number}") for number in range(MANY)]

    first, second = claim(database, jobs, *keys), claim(database, jobs, *keys, now=9)

    assert list(first.values()) == [Job(one) for one in first]
    assert set(first) == set(second) == set(keys)
    assert second[keys[0]] == Job(keys[0], JobState.DEFERRED, *CALL, "", JOB_WAIT)


def test_a_job_is_its_organizations_and_its_providers(database: Database, jobs: JobStore) -> None:
    claim(database, jobs, key("a"))

    others = claim(database, jobs, key("a", organization_id="org_2"))
    found = claim(database, jobs, key("a", provider="anthropic"), key("a"))

    assert [job.state for job in others.values()] == [JobState.NEW]
    assert found[key("a", provider="anthropic")].state is JobState.NEW
    assert found[key("a")].state is JobState.DEFERRED


def test_a_look_or_a_lock_makes_no_job(database: Database, jobs: JobStore) -> None:
    assert database.write(lambda: jobs.lock([key("a")])) == {}
    assert database.read(lambda: jobs.find(key("a"))) is None
    assert claim(database, jobs, key("a"))[key("a")].state is JobState.NEW


def test_what_is_overdue_is_found_oldest_first_and_no_more_than_asked_for(
    database: Database, jobs: JobStore
) -> None:
    for number, name in enumerate(["late", "early", "never"]):
        claim(database, jobs, key(name), now=[9, 5, 7][number])
    done = database.read(lambda: jobs.find(key("never")))
    assert done is not None
    database.write(lambda: jobs.save([dataclasses.replace(done, due_time=None)]))

    def due(now: int, limit: int = 9) -> list[JobKey]:
        return database.read(lambda: jobs.due(now, limit=limit))

    assert due(JOB_WAIT + 4) == []
    assert due(JOB_WAIT + 5) == [key("early")]
    assert due(JOB_WAIT + 9) == [key("early"), key("late")]
    assert due(JOB_WAIT + 9, limit=1) == [key("early")]
