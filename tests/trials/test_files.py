"""Files appear whole or not at all."""

import pytest

from trials.files import whole


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_file_is_replaced_at_the_end_and_folders_are_made(tmp_path, is_synced):
    path = tmp_path / "some" / "where" / "one.bin"
    for data in (b"first", b"second"):
        with whole(path, is_synced) as file:
            file.write(data)
            assert not path.exists() or path.read_bytes() == b"first"
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_what_breaks_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "one.bin"
    path.write_bytes(b"old")

    def broken():
        with whole(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
