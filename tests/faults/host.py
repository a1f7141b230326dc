"""Starts real processes of the server: imports it once, forks for each, and tells how each ended.

Reads a JSON object a line on standard input and answers each with one on standard output. Importing
takes two seconds of a processor, and a crash test starts many processes.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import om_proxy.__main__
from om_server import wiring
from om_server.__main__ import main
from om_server.rating.catalogue import load_catalogue
from tests.faults import breakage, failpoint, proxy_failpoint

if TYPE_CHECKING:
    from collections.abc import Callable

PROXY = "om_proxy"


def serve() -> None:
    """Answer until the input ends."""
    # It is the same in every process, and takes as long to read as a short test takes.
    catalogue = load_catalogue()
    failpoint.put(wiring, "load_catalogue", lambda: catalogue)
    # A child that looks for garbage would copy every page of it.
    gc.collect()
    gc.freeze()
    # Line by line: a child must not find what is for its parent in a buffer.
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            _answer({"status": os.waitstatus_to_exitcode(status)})
            continue
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _become(order)
            _run(om_proxy.__main__.main if order["program"] == PROXY else main)
        _answer({"pid": child})


def _become(order: dict[str, Any]) -> None:
    """Make this a process of its own that was started with a command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in enumerate((nothing, log, log)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(order["environment"])
    # A `.env` of the checkout must not steer it.
    os.chdir(Path(order["log"]).parent)
    sys.argv = [order["program"], *order["arguments"]]
    if order["program"] == PROXY:
        if order["fault"]:
            proxy_failpoint.plant(failpoint.Fault(**order["fault"]))
        return
    for mode in order["modes"]:
        failpoint.set_mode(mode)
    for name in order["breakages"]:
        breakage.BREAKAGES[name]()
    if order["fault"]:
        failpoint.plant(failpoint.Fault(**order["fault"]))


def _run(command: Callable[[], None]) -> NoReturn:
    """Run the command, and end without the clean-up of an interpreter that only this process began."""
    code = 0
    try:
        command()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001 - whatever it was, the parent must not go on as this one
        code = 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _answer(answer: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
