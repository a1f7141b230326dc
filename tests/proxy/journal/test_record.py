import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.journal.record import (
    Damaged,
    Kind,
    LeaseNote,
    Record,
    leading,
    pack,
    pack_value,
    read_note,
    scan,
)

payloads = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=8)


def written(records: list[tuple[Kind, bytes]]) -> list[bytes]:
    return [pack(kind, payload) for kind, payload in records]


@given(payloads, st.integers(0, 64))
def test_what_was_written_is_read_whatever_room_is_left(records: list[tuple[Kind, bytes]], room: int) -> None:
    data = b"".join(written(records)) + bytes(room)

    assert [(record.kind, record.payload) for record in scan(data)] == records
    assert [record.end for record in leading(data)] == [
        sum(map(len, written(records)[: count + 1])) for count in range(len(records))
    ]


@given(payloads.filter(bool), st.data())
def test_a_record_that_was_cut_off_at_the_end_never_counted(
    records: list[tuple[Kind, bytes]], data: st.DataObject
) -> None:
    whole = written(records)
    kept = data.draw(st.integers(0, len(whole[-1]) - 1))
    torn = b"".join(whole[:-1]) + whole[-1][:kept] + bytes(64)

    read = [(record.kind, record.payload) for record in scan(torn)]

    # A cut that loses nothing but zeros loses nothing.
    assert read == records[:-1] or whole[-1][kept:].strip(b"\0") == b""


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(min_size=1, max_size=40)), min_size=2), st.data())
def test_a_record_that_was_changed_inside_is_damage_and_what_stood_before_it_is_good(
    records: list[tuple[Kind, bytes]], data: st.DataObject
) -> None:
    whole = written(records)
    index = data.draw(st.integers(0, len(records) - 2))
    place = data.draw(st.integers(0, len(whole[index]) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(whole[index])
    changed[place] ^= flip
    data_read = b"".join([*whole[:index], bytes(changed), *whole[index + 1 :]])
    found: list[Record] = []

    with pytest.raises(Damaged) as damage:
        found.extend(scan(data_read))

    assert [(record.kind, record.payload) for record in found] == records[:index]
    assert damage.value.offset == sum(map(len, whole[:index]))


def test_a_note_about_a_lease_is_read_as_it_was_written() -> None:
    note = LeaseNote("lse_1", 3, 2**62)

    (record,) = scan(pack_value(Kind.CLOSING, note))

    assert read_note(record.payload) == note
