"""What waits on disk: numbered without a gap and sent in order, whatever is torn off by a crash."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.errors import BusyError, DocumentError
from rms_flows.probe import journal as room
from rms_flows.probe.journal import Journal

MOST = 1 << 20


def lines(first, count):
    return [b'{"%d"}' % number for number in range(first, first + count)]


def drain(journal, most=500):
    found = []
    while taken := journal.take(most):
        found += taken.lines
        journal.sent(taken)
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(1, 7)),
        st.tuples(st.just("lost"), st.integers(1, 7)),  # taken, and the output fails
        st.tuples(st.just("crash"), st.integers(0, 60)),  # and so many bytes of a batch were written
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_each_envelope_comes_once_and_in_order(tmp_path_factory, actions):
    """Guards against numbers given twice and against lines lost or half sent after a crash at any byte."""
    folder = tmp_path_factory.mktemp("journal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "SEGMENT", 200)
        journal = Journal(folder, MOST)
        written, got, position, acknowledged = 0, [], 0, 0
        for action, size in actions:
            if action == "append":
                position += 1
                journal.append(lines(written + 1, size), {"log": position})
                written += size
            elif action in {"take", "lost"} and (taken := journal.take(size)):
                assert len(taken.lines) <= size
                assert taken.last == acknowledged + len(taken.lines)
                if action == "take":
                    journal.sent(taken)
                    got += taken.lines
                    acknowledged = taken.last
            elif action in {"crash", "restart"}:
                journal.append([], {"log": position})  # notes what was sent
                journal.close()
                newest = max(folder.glob("*.ndjson"))
                if action == "crash":
                    whole = newest.read_bytes()
                    torn = b"".join(line + b"\n" for line in lines(written + 1, 3)) + b'#{"next":9'
                    newest.write_bytes(whole + torn[:size])
                journal = Journal(folder, MOST)
                assert journal.state.positions == {"log": position}
            assert journal.state.next == written + 1
            assert journal.waiting == written - acknowledged
        assert got + drain(journal) == lines(1, written)
        journal.close()


def test_after_a_crash_what_may_have_been_sent_is_sent_again_the_same(tmp_path):
    journal = Journal(tmp_path, MOST)
    journal.append(lines(1, 4), {})
    journal.sent(journal.take(3))
    journal.close()  # without having noted it
    again = Journal(tmp_path, MOST)
    assert drain(again) == lines(1, 4)
    again.close()


def test_a_batch_of_which_a_block_never_reached_the_disk_does_not_count(tmp_path):
    """Guards against a loss of power that leaves zeros before a line that is whole."""
    journal = Journal(tmp_path, MOST)
    journal.append(lines(1, 2), {"log": 1})
    size = max(tmp_path.glob("*.ndjson")).stat().st_size
    journal.append(lines(3, 2), {"log": 2})
    journal.close()
    path = max(tmp_path.glob("*.ndjson"))
    data = bytearray(path.read_bytes())
    data[size : size + 4] = bytes(4)
    path.write_bytes(data)
    again = Journal(tmp_path, MOST)
    assert (again.state.next, again.state.positions) == (3, {"log": 1})
    assert path.stat().st_size == size
    again.close()


def test_the_oldest_are_dropped_and_counted_where_there_is_no_more_room(tmp_path):
    journal = Journal(tmp_path, 8_000)
    for number in range(1, 2_001):
        journal.append(lines(number, 1), {"log": number})
        assert sum(one.stat().st_size for one in tmp_path.glob("*.ndjson")) <= 9_200
    dropped = journal.state.dropped
    journal.close()
    again = Journal(tmp_path, 8_000)
    assert again.state.dropped == dropped > 0
    assert again.state.positions == {"log": 2_000}
    kept = drain(again)
    assert kept == lines(2_001 - len(kept), len(kept))
    assert dropped + len(kept) == 2_000
    again.append(lines(2_001, 1), {})
    assert again.state.next == 2_002
    again.close()


def test_what_was_taken_while_it_was_dropped_is_not_counted_as_sent(tmp_path):
    journal = Journal(tmp_path, 8_000)
    journal.append(lines(1, 5), {})
    taken = journal.take(5)
    for number in range(6, 1_000):
        journal.append(lines(number, 1), {})
    sent = journal.state.sent
    assert sent > 5
    journal.sent(taken)
    assert journal.state.sent == sent
    assert drain(journal)[-1] == b'{"999"}'
    journal.close()


def test_a_disk_without_room_leaves_nothing_half_done(tmp_path, monkeypatch):
    journal = Journal(tmp_path, MOST)
    journal.append(lines(1, 2), {})
    real, calls = os.pwrite, []

    def full(handle, data, offset):
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(1)
        return real(handle, data[: len(data) // 2], offset)

    monkeypatch.setattr(room.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        journal.append(lines(3, 2), {})
    monkeypatch.undo()
    journal.append(lines(3, 2), {})
    assert drain(journal) == lines(1, 4)
    journal.close()


def test_two_probes_never_share_a_folder(tmp_path):
    journal = Journal(tmp_path, MOST)
    with pytest.raises(BusyError, match="another probe keeps its state here; stop it, or name another"):
        Journal(tmp_path, MOST)
    journal.close()
    Journal(tmp_path, MOST).close()


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DocumentError, match=r"the probe's state can't be kept .*; check path and rights"):
        Journal(tmp_path / "file", MOST)
    (tmp_path / "notes.ndjson").write_text("")
    with pytest.raises(DocumentError, match="that nothing else is in the folder"):
        Journal(tmp_path, MOST)
