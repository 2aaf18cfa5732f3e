import os

import pytest

from jaxvision.core import write_atomically


def test_writes_the_file_and_folders_on_the_way(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    assert write_atomically(path, lambda file: file.write(b"new")) == path
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["c.bin"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["c.bin"]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"
