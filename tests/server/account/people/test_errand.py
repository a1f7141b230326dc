"""Work that a call leaves behind."""

import threading

import pytest
import structlog

from om_server.account.people import errand
from om_server.account.people.errand import Errands
from om_server.core.errors import Overloaded
from om_server.storage.tenancy import seeing, visible


def test_what_was_left_is_done_before_the_end() -> None:
    errands, done = Errands(), list[int]()
    for number in range(3):
        errands.leave(lambda number=number: done.append(number))  # type: ignore[misc] # A default binds it.

    errands.stop()

    assert done == [0, 1, 2]


def test_the_caller_does_not_wait() -> None:
    errands, go = Errands(), threading.Event()
    done: list[bool] = []
    errands.leave(lambda: done.append(go.wait(30)))

    assert not done
    go.set()
    errands.stop()

    assert done == [True]


def test_too_much_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errand, "_WAITING_MAX", 1)
    errands, go, done = Errands(), threading.Event(), list[str]()
    errands.leave(lambda: done.append("first") if go.wait(30) else None)

    with pytest.raises(Overloaded):
        errands.leave(lambda: done.append("second"))
    go.set()
    errands.stop()

    assert done == ["first"]


def test_a_slow_mail_server_does_not_keep_the_process_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    errands, go, done = Errands(), threading.Event(), list[str]()
    errands.leave(lambda: done.append("first") if go.wait(30) else None)
    errands.leave(lambda: done.append("second"))
    shutdown = errands._pool.shutdown

    def end() -> None:
        go.set()
        shutdown()

    monkeypatch.setattr(errands._pool, "shutdown", end)
    with structlog.testing.capture_logs() as logs:
        errands.stop(grace_s=0)

    assert done == ["first"]
    assert [line["event"] for line in logs] == ["errand_dropped"]


def test_a_failure_is_logged_by_its_kind_and_the_next_one_runs() -> None:
    errands, done = Errands(), list[str]()

    def fail() -> None:
        raise ValueError("ada@example.com")

    with structlog.testing.capture_logs() as logs:
        errands.leave(fail)
        errands.leave(lambda: done.append("next"))
        errands.stop()

    assert done == ["next"]
    assert logs == [{"event": "errand_failed", "error": "ValueError", "log_level": "warning"}]


def test_it_sees_the_rows_that_its_call_saw() -> None:
    errands, seen = Errands(), list[str | None]()
    with seeing("org_1"):
        errands.leave(lambda: seen.append(visible()))
    errands.stop()

    assert seen == ["org_1"]
