"""Small real processes, started and stopped in order."""

import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from om_server.cli.component import Component
from om_server.cli.supervisor import (
    StartFailed,
    StopSignals,
    Supervisor,
    own_service_token,
    require_free_ports,
)

#: Notes its start in a common file, says that it is ready, and notes its end on SIGTERM.
_CHILD = """
import os, signal, sys
name, folder = sys.argv[1:3]
def note(what):
    with open(os.path.join(folder, "story"), "a") as story:
        story.write(f"{what} {name}\\n")
def end(*_):
    note("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
open(os.path.join(folder, name), "w").close()
while True:
    signal.pause()
"""


def running(name: str, folder: Path) -> Component:
    ready = folder / name
    return Component(name, [sys.executable, "-c", _CHILD, name, str(folder)], ready.exists)


def ending(name: str, code: str) -> Component:
    return Component(name, [sys.executable, "-c", code], lambda: False)


def story(folder: Path) -> list[str]:
    return (folder / "story").read_text().splitlines()


@pytest.fixture(name="supervisor")
def make_supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", stop_timeout_s=20)
    yield supervisor
    supervisor.stop()


def test_a_process_is_ready_before_the_next_one_starts(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        supervisor.start(running(name, tmp_path))
        assert (tmp_path / name).exists()

    assert story(tmp_path) == ["start first", "start second", "start third"]


def test_processes_stop_in_the_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        supervisor.start(running(name, tmp_path))

    supervisor.stop()

    assert story(tmp_path)[3:] == ["stop third", "stop second", "stop first"]


def test_one_that_dies_at_its_start_is_named_with_its_last_line(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    code = "import sys; print('first'); sys.exit('openmonetize: OM_X: is wrong')"

    with pytest.raises(StartFailed) as raised:
        supervisor.start(ending("worker", code))

    assert str(raised.value) == "worker ended with 1: openmonetize: OM_X: is wrong"


def test_the_last_line_is_of_this_run(supervisor: Supervisor, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "worker.log").write_text("from an earlier run\n")

    with pytest.raises(StartFailed) as raised:
        supervisor.start(ending("worker", "raise SystemExit(3)"))

    assert str(raised.value) == f"worker ended with 3: no output, see {logs / 'worker.log'}"


def test_one_that_is_answered_for_by_another_program_is_not_ready(supervisor: Supervisor) -> None:
    def answers() -> bool:
        # What has the port answers, and says so only when our own process has gone.
        for child in supervisor._running:
            child.process.wait(20)
        return True

    with pytest.raises(StartFailed, match=r"^rest ended with 1: taken$"):
        supervisor.start(Component("rest", [sys.executable, "-c", "raise SystemExit('taken')"], answers))


def test_one_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", start_timeout_s=0.2)
    component = running("slow", tmp_path)
    slow = Component(component.name, component.arguments, lambda: False)
    try:
        with pytest.raises(StartFailed, match=r"^slow was not ready in 0 s; see "):
            supervisor.start(slow)
    finally:
        supervisor.stop()


def test_a_ready_file_from_before_does_not_count(supervisor: Supervisor, tmp_path: Path) -> None:
    left = tmp_path / "worker.ready"
    left.touch()
    component = Component(
        "worker", [sys.executable, "-c", "raise SystemExit('gone')"], left.exists, ready_file=left
    )

    with pytest.raises(StartFailed, match="gone"):
        supervisor.start(component)


def test_one_that_ends_later_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(running("first", tmp_path))
    supervisor.start(running("second", tmp_path))
    supervisor._running[0].process.kill()

    with pytest.raises(StartFailed, match=r"^first ended with -9: no output"):
        supervisor.wait(pytest.fail)


def test_one_that_resumes_is_started_again_when_it_was_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", steady_s=0)
    supervisor.start(replace(running("edge", tmp_path), resumes=True))
    first = supervisor._running[0].process
    first.kill()
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) > 1:
            raise KeyboardInterrupt
        threading.Thread(target=kill_the_next).start()

    def kill_the_next() -> None:
        while (process := supervisor._running[0].process) is first:
            time.sleep(0.01)
        process.kill()

    with pytest.raises(KeyboardInterrupt):
        supervisor.wait(tell)
    assert told == ["edge was killed by signal 9 and is started again."] * 2


def test_one_that_is_killed_at_once_is_not_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", steady_s=60)
    supervisor.start(replace(running("edge", tmp_path), resumes=True))
    supervisor._running[0].process.kill()

    with pytest.raises(StartFailed, match=r"^edge ended with -9: no output"):
        supervisor.wait(pytest.fail)


def test_one_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", stop_timeout_s=0.2)
    code = _CHILD.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")
    stubborn = Component(
        "stubborn", [sys.executable, "-c", code, "stubborn", str(tmp_path)], (tmp_path / "stubborn").exists
    )
    supervisor.start(stubborn)
    process = supervisor._running[0].process

    supervisor.stop()

    assert process.returncode == -signal.SIGKILL


def test_a_child_gets_its_own_variables_besides_ours(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OM_OURS", "ours")
    code = "import os; raise SystemExit(os.environ['OM_OURS'] + os.environ['OM_CHILDS'])"
    component = Component(
        "one", [sys.executable, "-c", code], lambda: False, environment={"OM_CHILDS": "-childs"}
    )

    with pytest.raises(StartFailed, match="ours-childs"):
        supervisor.start(component)


def test_a_taken_port_is_told_with_the_variable_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        component = Component("rest", [], lambda: True, ports={"OM_REST_PORT": port})

        with pytest.raises(StartFailed) as raised:
            require_free_ports("127.0.0.1", [component])

    assert str(raised.value) == f"port {port} is taken (wanted for rest); set OM_REST_PORT to another"
    require_free_ports("127.0.0.1", [component])


def test_one_port_for_two_is_told_with_both_variables() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    rest = Component("rest", [], lambda: True, ports={"OM_REST_PORT": port})
    proxy = Component("proxy", [], lambda: True, ports={"OM_PROXY_PORT": port})

    with pytest.raises(StartFailed, match=f"^OM_REST_PORT and OM_PROXY_PORT are both {port}"):
        require_free_ports("127.0.0.1", [rest, proxy])


def test_the_service_token_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    token = own_service_token(folder)

    assert len(token) > 40
    assert own_service_token(folder) == token
    assert stat.S_IMODE((folder / "service_token").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["service_token"]


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "service_token").touch()

    assert own_service_token(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_later_ones_do_not(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


def test_a_held_signal_interrupts_when_the_block_is_done() -> None:
    done = []

    def start(signals: StopSignals) -> None:
        with signals.held():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")
        done.append("what comes after it")

    with StopSignals() as signals, pytest.raises(KeyboardInterrupt):
        start(signals)

    assert done == ["the rest of the block"]


def test_no_signal_interrupts_the_stop() -> None:
    with StopSignals() as signals:
        signals.ignore()
        signal.raise_signal(signal.SIGINT)
        with signals.held():
            pass
