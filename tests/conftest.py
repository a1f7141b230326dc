"""What every test shares: how long Hypothesis searches, and what is told of the tests that carry numbers."""

from __future__ import annotations

import functools
import gc
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from om_server.rating import catalogue
from tests.acceptance import PROPERTY, Results

if TYPE_CHECKING:
    from _pytest.reports import TestReport

# No deadline, because a busy machine is slow, not wrong. The blob repeats a failure found elsewhere.
settings.register_profile("quick", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("quick")

# Every platform of a test process reads the same file, which takes longer than most tests. Here, because the
# conftest of a folder may import what imports the function, and no hook comes before that.
pytest.MonkeyPatch().setattr(catalogue, "load_catalogue", functools.cache(catalogue.load_catalogue))

_RESULTS = pytest.StashKey[Results]()


class _Listener:
    """Hears how every test ended, in whatever process."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def pytest_runtest_logreport(self, report: TestReport) -> None:
        if (PROPERTY, True) in report.user_properties:
            self._results.note(report.nodeid, failed=report.failed)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = results = Results()
    config.pluginmanager.register(_Listener(results))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, TestReport, TestReport]:
    report = yield
    if item.get_closest_marker("acceptance") is not None:
        # Properties of a report reach the process that collects the results; marks do not.
        report.user_properties.append((PROPERTY, True))
    return report


def pytest_collection_finish() -> None:
    """Look no more for garbage in what stays to the end, modules and tests: it took a tenth of all time."""
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, in the one process that has heard of every test."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[_RESULTS].write()
