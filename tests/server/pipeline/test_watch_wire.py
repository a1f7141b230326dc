"""Changes as edges hear them."""

from om_server.pipeline.watch_wire import change_to_proto
from om_server.storage.change import Change, ChangeKind


def test_a_key_that_may_be_used_again_has_no_end() -> None:
    ended = change_to_proto(Change(1, ChangeKind.KEY_REVOKED, subject_id="key_1", value=5_000_000))
    again = change_to_proto(Change(2, ChangeKind.KEY_REVOKED, subject_id="key_1"))

    assert ended.key_revoked.end_time.seconds == 5
    assert again.key_revoked.key_id == "key_1"
    assert not again.key_revoked.HasField("end_time")
