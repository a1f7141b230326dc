"""Many who change one prompt at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from om_server.core.errors import IdempotencyKeyReused
from om_server.core.page import PageRequest
from om_server.prompt.record import ActivationRow, PromptRow
from om_server.prompt.version import Configuration, VersionRequest
from tests.server.prompt.desk import KEY, ORG, Desk

THREADS = 8


def together(tasks: list[Callable[[], object]]) -> list[object]:
    """Run all at once and give what each returned or raised."""
    ready = threading.Barrier(len(tasks))

    def run(task: Callable[[], object]) -> object:
        ready.wait()
        try:
            return task()
        except IdempotencyKeyReused as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


@pytest.mark.acceptance("B-206")
def test_of_many_that_activate_at_once_exactly_one_version_is_active(desk: Desk) -> None:
    for _ in range(THREADS):
        desk.add()

    together(
        [
            lambda number=number: desk.prompts.activate_version(ORG, KEY, number)  # type: ignore[misc]
            for number in range(1, THREADS + 1)
        ]
    )

    prompt = desk.prompts.get_prompt(ORG, KEY)
    listed = desk.prompts.list_versions(ORG, KEY, PageRequest()).versions
    assert [one.version for one in listed if one.active] == [prompt.active_version]
    history = desk.database.read(lambda: list(ActivationRow.select().order_by(ActivationRow.from_time)))
    assert {row.version for row in history} == set(range(1, THREADS + 1))
    assert len(history) == THREADS
    assert (history[-1].version, history[-1].from_time) == (prompt.active_version, prompt.active_since)


def test_versions_that_are_added_at_once_have_numbers_without_gaps_and_one_is_active(desk: Desk) -> None:
    added = together([lambda: desk.add(active=True) for _ in range(THREADS)])

    assert len(added) == THREADS
    listed = desk.prompts.list_versions(ORG, KEY, PageRequest()).versions
    assert [one.version for one in listed] == list(range(THREADS, 0, -1))
    assert sum(one.active for one in listed) == 1


def test_of_one_request_that_is_sent_many_times_at_once_one_version_is_made(desk: Desk) -> None:
    request = VersionRequest(KEY, Configuration("gpt-4o"), "k", active=True)

    answers = together([lambda: desk.prompts.create_version(ORG, request) for _ in range(THREADS)])

    assert answers == [answers[0]] * THREADS
    assert desk.prompts.get_prompt(ORG, KEY).version_count == 1


def test_of_different_prompts_that_take_one_idempotency_key_at_once_one_gets_it(desk: Desk) -> None:
    requests = [VersionRequest(f"prompt-{number}", Configuration(), "k") for number in range(THREADS)]

    answers = together(
        [
            lambda request=request: desk.prompts.create_version(ORG, request)  # type: ignore[misc]
            for request in requests
        ]
    )

    refused = [answer for answer in answers if isinstance(answer, IdempotencyKeyReused)]
    assert len(refused) == THREADS - 1
    # Nothing is left of those that were refused.
    (prompt,) = desk.prompts.list_prompts(ORG, PageRequest()).prompts
    assert prompt.version_count == 1


@pytest.mark.acceptance("B-206")
@pytest.mark.parametrize("active", [0, 2])
def test_the_database_itself_refuses_an_active_version_that_does_not_exist(desk: Desk, active: int) -> None:
    desk.add()

    with pytest.raises(peewee.IntegrityError):
        desk.database.write(lambda: PromptRow.update(active_version=active).execute())


@pytest.mark.parametrize("table", ["prompt_versions", "prompt_activations"])
def test_the_database_itself_keeps_history_as_it_was(desk: Desk, table: str) -> None:
    desk.add(active=True)

    with pytest.raises(peewee.DatabaseError, match="never change"):
        desk.database.write(
            lambda: desk.database.engine.execute_sql(f"UPDATE {table} SET version = 1")  # noqa: S608 - ours
        )
