"""`make simulate`: plays seeds and prints how fast, what met, and where the first failure is."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from tests.simulation.run import MEETINGS, RARE, STEPS, simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: Seeds that a process plays before it says how they went.
_PART = 50
#: Of so many seeds every meeting is expected.
_MANY = 5000
#: The processes that are used at most unless more are asked for.
_JOBS = 2

#: Seeds and steps; and how many were played, what met, and where the first that failed did.
_Part = tuple[tuple[int, ...], int]
_Played = tuple[int, Counter[str], str]


def main(arguments: Sequence[str]) -> int:
    """Play the seeds; 1 if one fails."""
    chosen = _parser().parse_args(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds) if chosen.seed is None else (chosen.seed,)
    parts = [(tuple(seeds[at : at + _PART]), chosen.steps) for at in range(0, len(seeds), _PART)]
    started, count, failure = time.perf_counter(), 0, ""
    meetings: Counter[str] = Counter()
    with _players(min(chosen.jobs, len(parts))) as played:
        for done, met, failure in played(parts):
            count += done
            meetings += met
            if failure:
                break
            if count % 500 == 0:
                sys.stderr.write(f"{count} seeds, {time.perf_counter() - started:.0f} s\n")
    _report(meetings, count=count, took=time.perf_counter() - started)
    if failure:
        _write(failure)
    never = [name for name in (*MEETINGS, *RARE) if not meetings[name]] if count >= _MANY else []
    if never:
        _write(f"never met: {', '.join(never)}")
    return int(bool(failure or never))


@contextlib.contextmanager
def _players(jobs: int) -> Iterator[Callable[[Sequence[_Part]], Iterable[_Played]]]:
    """Play parts in their order, so that the first failure is the first of all seeds."""
    with multiprocessing.get_context("fork").Pool(jobs, _begin) as pool:
        yield lambda parts: pool.imap(_play, parts)


def _begin() -> None:
    # The server says much about what the simulation does to it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _play(part: _Part) -> _Played:
    """Play some seeds up to the first that fails; how many that was, what they met, and the failure."""
    seeds, steps = part
    with simulation() as simulated:
        for count, seed in enumerate(seeds, start=1):
            failure = simulated.run(seed, steps=steps)
            if failure is not None:
                return count, simulated.meetings, str(failure)
    return len(seeds), simulated.meetings, ""


def _report(meetings: Counter[str], *, count: int, took: float) -> None:
    lines = [f"{meetings.get(name, 0):>9,}  {name}" for name in sorted({*MEETINGS, *RARE, *meetings})]
    _write("\n".join([*lines, f"{count} seeds in {took:.1f} s, {count / took:.1f} a second"]))


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--steps", type=int, default=STEPS, help="the acts of one seed")
    jobs = min(_JOBS, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, help="how many processes play")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
