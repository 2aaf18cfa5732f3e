import json

import pytest

from jaxvision.data.json_fields import checked, entry, flag, read_json_object, shown


def test_objects_in_any_unicode(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(json.dumps({"a": "ö"}, ensure_ascii=False), encoding=encoding)
        assert read_json_object(path) == {"a": "ö"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JSON file"),
        (b"{", "not a JSON file"),
        (b"\x00\xff\x00", "not a JSON file"),
        (b"[" * 100_000, "not a JSON file"),
        (b"1" * 5000, "not a JSON file"),
        (
            b'{"a": [{"b": 1, "c": 2, "b": 1}]}',
            r"not a JSON file \(the key 'b' comes 2 times in one object; keep",
        ),
        (b"[1, 2]", "got a list of 2, expected an object"),
        (b"null", "got null, expected an object"),
        (b'"text"', "got 'text', expected an object"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read_json_object(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.json: no such file"):
        read_json_object(tmp_path / "b.json")


def test_entries():
    owner = {"n": 3, "t": "x", "l": [], "o": {}, "f": 2.5}
    kinds = {"n": "an integer", "t": "a text", "l": "a list", "o": "an object", "f": "a finite number"}
    for key, kind in kinds.items():
        assert entry(owner, key, kind, "f.json") == owner[key]
    with pytest.raises(ValueError, match=r"f\.json: 'm' is missing, expected a text"):
        entry(owner, "m", "a text", "f.json")
    with pytest.raises(ValueError, match=r"f\.json: t: got 'x', expected an integer; export the file anew"):
        entry(owner, "t", "an integer", "f.json")
    with pytest.raises(ValueError, match=r"got 2\.5, expected an integer"):
        checked(2.5, "an integer", "f.json")
    assert checked(3, "a finite number", "f.json") == 3
    for wrong in (True, float("nan"), float("-inf"), 2**60, 10**6000):
        with pytest.raises(ValueError, match="expected a finite number"):
            checked(wrong, "a finite number", "f.json")


def test_flags():
    owner = {"a": 1, "b": True, "c": 0, "d": False, "e": None}
    assert [key for key in "abcdef" if flag(owner, key, "f.json")] == ["a", "b"]
    for wrong in ("false", "", 2, 1.0, [], {}):
        with pytest.raises(ValueError, match=r"f\.json: k: got .*, expected 0 or 1"):
            flag({"k": wrong}, "k", "f.json")


def test_long_values_are_cut_short():
    assert shown("a" * 100) == "'" + "a" * 39 + "..."
