import errno
import os
import resource
import threading
from pathlib import Path

import pytest

from om_proxy.journal.record import Header, Kind, pack, scan
from om_proxy.journal.segment import SegmentWriter, segment_files

HEADER = Header("edg_1", 1)


def writer(path: Path, number: int = 1, *, room: int = 4096) -> SegmentWriter:
    return SegmentWriter(path, number, header=HEADER, room=room)


def test_the_room_is_taken_at_once_and_given_back_at_the_end(tmp_path: Path) -> None:
    one = writer(tmp_path)
    one.append(pack(Kind.SENT, b"evt"))
    before = one.file.path.stat()
    one.close()

    assert before.st_blocks * 512 >= 4096
    assert one.file.path.stat().st_size == one.size
    assert [record.kind for record in scan(one.file.path.read_bytes())] == [Kind.HEADER, Kind.SENT]


@pytest.mark.parametrize("fallocate", [True, False])
def test_a_disk_without_room_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fallocate: bool
) -> None:
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        writer(tmp_path, room=8192).close()
        with pytest.raises(OSError, match=r"large|room") as full:
            writer(tmp_path, 2, room=8193)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert full.value.errno in {errno.EFBIG, None}
    assert [file.number for file in segment_files(tmp_path)] == [1]


def test_segments_are_listed_in_their_order_with_what_became_of_them(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        writer(tmp_path, number).close()
    segment_files(tmp_path)[0].renamed("settled")
    (tmp_path / "edge.json").touch()

    assert [(file.number, file.state) for file in segment_files(tmp_path)] == [
        (1, "settled"),
        (2, "open"),
        (10, "open"),
    ]


def test_a_thread_may_sync_while_the_segment_ends(tmp_path: Path) -> None:
    """The descriptor of a closed file may be another file's by now."""
    one, stopping = writer(tmp_path), threading.Event()
    failures: list[OSError] = []

    def syncing() -> None:
        while not stopping.is_set():
            try:
                one.sync()
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=syncing)
    thread.start()
    one.append(pack(Kind.SENT, b"evt"))
    one.close(synced=True)
    stopping.set()
    thread.join()

    one.sync()
    assert failures == []
