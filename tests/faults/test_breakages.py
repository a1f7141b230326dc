"""Each rule that a crash test stands for, broken on purpose: the test must notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import (
    patience,
    test_clock_jump,
    test_dead_letter_crash,
    test_full_disk,
    test_intake_crash,
    test_interrupted_migration,
    test_lost_queue,
    test_owner,
    test_paused_worker,
    test_restored_store,
    test_versions,
    test_worker_crash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.faults.launcher import Host
    from tests.faults.scene import MakeSite, MakeTraffic

pytestmark = pytest.mark.soak

_CLAIMED = test_worker_crash.test_what_a_dead_worker_had_claimed_is_settled_by_another
_TRANSACTION = test_worker_crash.test_a_transaction_that_dies_leaves_nothing_behind
_TOGETHER = test_worker_crash.test_the_ledger_and_the_rollups_move_together
_COMMITTED = test_worker_crash.test_a_worker_that_dies_after_its_commit_has_charged_once
_UNKNOWN = test_worker_crash.test_a_commit_whose_answer_got_lost_is_not_settled_again
_STREAM = test_worker_crash.test_what_is_acknowledged_leaves_the_stream_at_once
_REPLY = test_intake_crash.test_a_batch_whose_reply_got_lost_is_charged_once
_INTAKE = test_intake_crash.test_intake_that_dies_beside_its_queue_loses_and_doubles_nothing
_LOSS = test_lost_queue.test_edges_send_again_what_the_queue_has_lost
_PAUSED = test_paused_worker.test_two_workers_with_one_batch_charge_once
_LETTER = (
    test_dead_letter_crash.test_a_letter_is_written_once_and_its_event_is_charged_once_when_it_is_replayed
)
_FULL = test_full_disk.test_what_a_full_disk_does_not_take_is_charged_once_when_there_is_room
_DEAD = test_full_disk.test_workers_that_die_while_the_disk_is_full_have_acknowledged_nothing
_RESTORED = test_restored_store.test_an_older_database_gets_again_from_edges_what_it_has_lost
_CLOCK = test_clock_jump.test_a_clock_that_jumps_frees_nothing_and_loses_nothing
_MIGRATION = test_interrupted_migration.test_a_migration_that_died_is_completed_by_the_next
_OWNER = test_owner.test_a_second_owner_of_a_file_does_not_start
_NEWER = test_versions.test_an_old_worker_leaves_newer_envelopes_to_a_newer_worker

_BEHIND: dict[str, object] = {"kind": "sqlite", "jump": "an hour behind", "clamped": True}

_CASES: list[tuple[str, str, Callable[..., None], Mapping[str, object]]] = [
    ("K7", "no identities", _REPLY, {"kind": "redis"}),
    ("K8", "answer first", _INTAKE, {"kind": "sqlite", "point": "before append"}),
    ("K9", "no identities", _INTAKE, {"kind": "redis", "point": "after append"}),
    ("K10", "no incarnation", _LOSS, {"loss": "emptied"}),
    ("K10", "one kept value", _LOSS, {"loss": "restarted with an older state"}),
    ("K11", "acknowledge first", _CLAIMED, {"kind": "redis"}),
    ("K11", "never claimed", _CLAIMED, {"kind": "redis"}),
    ("K11", "claimed and forgotten", _CLAIMED, {"kind": "redis"}),
    ("K12", "autocommit", _TRANSACTION, {"kind": "sqlite", "point": "identities claimed"}),
    ("K12", "acknowledge first", _TRANSACTION, {"kind": "redis", "point": "before commit"}),
    ("K13", "no identities", _UNKNOWN, {"kind": "redis"}),
    ("K14", "no identities", _COMMITTED, {"kind": "redis"}),
    ("K15", "no identities", _PAUSED, {"point": "claimed"}),
    ("K16", "keeps entries", _STREAM, {}),
    ("K17", "letters lost", _LETTER, {"kind": "sqlite"}),
    ("K19", "not renewed", _RESTORED, {"kind": "sqlite"}),
    ("K21", "never passes", _FULL, {"kind": "sqlite"}),
    ("K21", "never passes", _FULL, {"kind": "postgresql"}),
    ("K21", "told before settled", _FULL, {"kind": "postgresql"}),
    ("K21", "acknowledge first", _DEAD, {}),
    ("K25", "any time", _CLOCK, _BEHIND),
    ("K26", "autocommit", _TOGETHER, {"kind": "sqlite"}),
    ("K28", "autocommit", _MIGRATION, {"kind": "sqlite"}),
    ("K29", "any owner", _OWNER, {}),
    ("K30", "drops unreadable", _NEWER, {"kind": "postgresql"}),
]


@pytest.mark.parametrize(
    ("breakage", "test", "options"),
    [case[1:] for case in _CASES],
    ids=[f"{row}-{breakage}" for row, breakage, _, _ in _CASES],
)
def test_a_broken_rule_is_noticed(
    host: Host,
    make_site: MakeSite,
    make_traffic: MakeTraffic,
    monkeypatch: pytest.MonkeyPatch,
    breakage: str,
    test: Callable[..., None],
    options: Mapping[str, object],
) -> None:
    # What never comes need not be waited for that long.
    monkeypatch.setattr(patience, "PATIENCE_S", 12.0)
    monkeypatch.setattr(host, "breakages", [breakage])
    traffic = {} if test is _MIGRATION else {"make_traffic": make_traffic}

    with pytest.raises(AssertionError) as noticed:
        test(make_site=make_site, seed=1, **traffic, **options)
    print(str(noticed.value)[:300])  # noqa: T201 - shown on demand, to tell what noticed it
