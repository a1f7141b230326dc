"""K20 to K24 and K29 at the proxy: its disk is full, fails, is damaged or gone; its folder is another's."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.estate import charge_of
from tests.faults.failpoint import Fault
from tests.faults.patience import awaited
from tests.faults.provider import TOKENS_IN, TOKENS_OUT, Provider, provider
from tests.faults.proxy_site import ProxySite, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.scene import MakeSite

_EXACT = charge_of(TOKENS_IN, TOKENS_OUT)


@pytest.fixture
def upstream() -> Iterator[Provider]:
    with provider() as serving:
        yield serving


@pytest.fixture
def proxy(make_site: MakeSite, upstream: Provider) -> Iterator[ProxySite]:
    with proxied(make_site("sqlite"), upstream) as site:
        yield site


def test_a_full_disk_refuses_before_anything_is_sent(proxy: ProxySite) -> None:
    """K20. The lease that was taken for the call is free again."""
    proxy.start(fault=Fault("no room"))

    answer = proxy.ask()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
    assert proxy.provider.asked == 0
    proxy.stop()
    proxy.start()
    assert proxy.ask().status_code == 200
    proxy.check(_EXACT)


def test_a_server_without_a_disk_loses_nothing_of_the_journal(proxy: ProxySite) -> None:
    """K21, as the proxy sees it: nothing is taken in, for as long as it lasts."""
    proxy.start()
    assert proxy.ask().status_code == 200
    proxy.wait(1)
    proxy.site.kill()
    # What lies here may still be spent.
    answers = [proxy.ask().status_code for _ in range(3)]
    proxy.kill()
    proxy.site.start()
    proxy.start()

    assert set(answers) <= {200, 503}
    proxy.check(*[_EXACT] * (1 + answers.count(200)))


@pytest.mark.parametrize(
    ("point", "settings"), [("write fails", {}), ("sync fails", {"OM_JOURNAL_FSYNC": "batch"})]
)
def test_a_disk_that_fails_ends_the_process_which_goes_on_from_what_is_there(
    proxy: ProxySite, point: str, settings: dict[str, str]
) -> None:
    """K22. A failed sync is never tried again: the disk may have forgotten what it did not write."""
    process = proxy.start(fault=Fault(point, nth=12, action="lose"), more=settings)
    answers = []
    while not process.ended:
        with contextlib.suppress(httpx.HTTPError):
            answers.append(proxy.ask().status_code)
    assert proxy.buried() == 1
    lines = process.log.read_text().splitlines()
    assert "om_proxy: the journal cannot be written; the next start goes on from what is there" in lines

    proxy.start(more=settings)
    proxy.wait(answers.count(200))
    charges = [charge for _, charge in proxy.events()]
    assert charges.count(_EXACT) >= answers.count(200) - 1
    proxy.check(*charges)


def test_damage_inside_loses_no_outcome_that_is_good(proxy: ProxySite) -> None:
    """K23. A lease for many calls is left to an owner; one for a single call needs no count."""
    proxy.start(fault=Fault("after outcome", nth=3))
    assert proxy.ask().status_code == 200
    assert proxy.ask().status_code == 200
    proxy.crash()
    proxy.buried()
    segment = max(proxy.files.glob("*.open"), key=lambda path: path.read_bytes().count(b"evt_"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"evt_") + 8] ^= 0xFF
    segment.write_bytes(data)

    process = proxy.start()
    awaited(lambda: len(proxy.events()) >= 3)

    assert "journal_damaged" in process.log.read_text()
    assert list(proxy.files.glob("*.damaged"))
    assert {charge for _, charge in proxy.events()} == {_EXACT}
    open_leases = "SELECT COUNT(*) FROM leases WHERE state NOT IN ('closed', 'quarantined')"
    awaited(lambda: not proxy.site.value(open_leases))
    # It goes on, and is clean again.
    assert proxy.ask().status_code == 200
    proxy.stop()
    awaited(lambda: len(proxy.events()) >= 4)


def test_a_lost_disk_is_a_new_edge_and_what_the_old_one_had_stays_aside(proxy: ProxySite) -> None:
    """K24. Nothing that the old edge had leased returns by itself."""
    proxy.start(fault=Fault("after sent"))
    proxy.crash()
    proxy.buried()
    leases = set(proxy.site.rows("SELECT lease_id FROM leases WHERE state <> 'closed'"))
    assert leases
    shutil.rmtree(proxy.journal)
    proxy.start()
    assert proxy.ask().status_code == 200

    awaited(lambda: ("RATED", _EXACT) in proxy.events())
    assert leases <= set(proxy.site.rows("SELECT lease_id FROM leases WHERE state <> 'closed'"))
    assert proxy.site.value("SELECT COUNT(DISTINCT edge_id) FROM edges") == 2


def test_a_second_proxy_over_a_folder_does_not_start(proxy: ProxySite) -> None:
    """K29."""
    proxy.start()
    second = proxy.start(ready=False, more={"OM_PROXY_PORT": "0"})

    assert second.wait() == 1
    last = second.log.read_text().splitlines()[-1]
    assert "is the journal of a process that runs" in last
    assert "OM_PROXY_JOURNAL_DIR" in last
    assert proxy.ask().status_code == 200
    proxy.check(_EXACT)


def test_workers_have_a_journal_each_and_one_that_is_left_over_is_run_to_its_end(proxy: ProxySite) -> None:
    """A worker that is killed starts again by itself; fewer workers leave nothing behind."""
    process = proxy.start(workers=2)
    awaited(lambda: _epochs(proxy) == [1, 1])
    answers = [proxy.ask().status_code for _ in range(12)]
    assert answers == [200] * 12
    proxy.wait(12)
    before = process.children
    os.kill(before[0], signal.SIGKILL)
    awaited(lambda: sorted(_epochs(proxy)) == [1, 2])
    awaited(lambda: len(process.children) == 2 and proxy.ready())
    assert process.children != before
    assert proxy.ask().status_code == 200
    proxy.stop()
    assert process.wait() == 0
    # What the second one has still to say is said by the first.
    for path in (proxy.journal / "1").glob("*.settled"):
        path.rename(path.with_suffix(".open"))

    process = proxy.start()
    awaited(lambda: "orphan_found" in process.log.read_text())
    awaited(lambda: _is_free(proxy.journal / "1" / "lock"))
    proxy.check(*[_EXACT] * 13)


def test_workers_end_with_their_parent(proxy: ProxySite) -> None:
    process = proxy.start(workers=2)
    awaited(lambda: _epochs(proxy) == [1, 1])
    process.kill()

    awaited(lambda: all(_is_free(proxy.journal / name / "lock") for name in ("0", "1")))


def test_a_worker_that_cannot_start_ends_them_all(proxy: ProxySite) -> None:
    proxy.start()
    second = proxy.start(ready=False, workers=2, more={"OM_PROXY_PORT": "0"})

    assert second.wait() == 1
    log = second.log.read_text()
    assert "is the journal of a process that runs" in log
    assert log.splitlines()[-1] == "om_proxy: a worker could not start; its line is above"


def _epochs(proxy: ProxySite) -> list[int]:
    """In which epoch each journal is."""
    return [json.loads(path.read_text())["edge_epoch"] for path in sorted(proxy.journal.glob("*/edge.json"))]


def _is_free(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
