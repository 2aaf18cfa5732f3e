import pytest

from jaxvision.data.file_lists import Problems, files_by_stem, hash_split, names_of_part, read_lines


def test_lines_are_stripped_and_blank_ones_passed_over(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff one \r\n\r\n  zwölf\n".encode())
    assert read_lines(path) == ["one", "zwölf"]


def test_files_that_are_no_list(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\xff")
    with pytest.raises(ValueError, match=r"a\.txt: not a text in UTF-8 .*; save it as UTF-8"):
        read_lines(path)
    path.write_bytes(b" \n")
    with pytest.raises(ValueError, match=r"a\.txt: the list is empty"):
        read_lines(path)
    with pytest.raises(FileNotFoundError, match=r"b\.txt: no such list; the folder holds a\.txt"):
        read_lines(tmp_path / "b.txt")


def test_problems_are_raised_together_or_kept():
    stopping, skipping = Problems(skip=False), Problems(skip=True)
    for problems in (stopping, skipping):
        problems.stop(3, what="files")  # nothing so far
        problems.add("a.json: bad")
        problems.add("b.json: worse")
    with pytest.raises(ValueError, match=r"2 of 3 files are broken:\n  a\.json: bad\n  b\.json: worse"):
        stopping.stop(3, what="files")
    skipping.stop(3, what="files")
    assert skipping.found == ["a.json: bad", "b.json: worse"]


def test_files_of_other_endings(tmp_path):
    (tmp_path / "a.mat").touch()
    assert files_by_stem(tmp_path, suffixes=(".mat",)) == {"a": tmp_path / "a.mat"}
    with pytest.raises(ValueError, match=r"no such file in it, expected files ending in \.npy"):
        files_by_stem(tmp_path, suffixes=(".npy",))


def test_the_split_takes_names_that_are_no_unicode():
    names = ["a\udcff", "b"]
    parts = [hash_split(names, split, val_fraction=0.5, seed=0) for split in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == sorted(names)


ALL = [f"n{number}" for number in range(10)]


def test_parts_are_disjoint_and_complete_whatever_is_listed(tmp_path):
    def parts(*names, **lists):
        for name in ("train", "val", "test"):
            (tmp_path / f"{name}.txt").unlink(missing_ok=True)
        for name, listed in lists.items():
            (tmp_path / f"{name}.txt").write_text("\n".join(listed))
        found = [names_of_part(tmp_path, part, ALL, val_fraction=0.25, seed=0) for part in names]
        assert len({name for part in found for name in part}) == sum(map(len, found))
        return found

    by_hash = [hash_split(ALL, split, val_fraction=0.25, seed=0) for split in ("train", "val")]
    assert parts("train", "val") == by_hash
    train, val, test = parts("train", "val", "test", test=ALL[:3])
    assert (len(train), len(val), test) == (5, 2, ALL[:3])
    train, val = parts("train", "val", train=ALL[:8])
    assert (len(train), len(val)) == (6, 2)
    assert {*train, *val} == {*ALL[:8]}
    assert parts("train", "val", "test", val=ALL[:2], test=ALL[2:4]) == [ALL[4:], ALL[:2], ALL[2:4]]
    assert parts("train", "val", train=ALL[:3], val=ALL[5:6]) == [ALL[:3], ALL[5:6]]
    with pytest.raises(ValueError, match=r"got 'test', expected .* another split needs a list"):
        parts("test")
