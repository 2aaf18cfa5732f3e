import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvision.data.json_spans import read_items, scan_items

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quiet
@given(
    st.lists(values, max_size=5),
    st.lists(values, max_size=5),
    st.dictionaries(st.text(), values, max_size=3),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_items_and_their_places(tmp_path, first, second, rest, ascii_only, indent, newline):
    content = {**rest, "first": first, "second": second}
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent).replace("\n", newline)
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if ascii_only else text.encode(errors="replace"))
    expected = json.loads(path.read_bytes())
    for keys in (("first", "second"), ("second",)):
        items = list(scan_items(path, keys))
        for key in keys:
            found = [item for item in items if item.key == key]
            assert [item.value for item in found] == expected[key]
            assert [item.position for item in found] == list(range(len(expected[key])))
            spans = np.array([item.span for item in found], np.int64).reshape(-1, 2)
            assert read_items(path, spans) == expected[key]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected '{'"),
        ("[1]", "expected '{'"),
        ('{"a": [1', "expected ','"),
        ('{"a": [1, 2}', "expected ','"),
        ('{"a": [1,]}', "Expecting value"),
        ('{"a": [1] "b": 2}', "expected ','"),
        ('{"a": [1]', "expected ','"),
        ('{"a" [1]}', "expected ':'"),
        ('{"a": [1]} {}', "something after the end"),
        ('{"a": {"x": 1}}', "a: got an object, expected a list"),
        ('{"a": 3}', "a: got 3, expected a list"),
        ('{"b": [1]}', "no list 'a'"),
        ("{}", "no list 'a'"),
        ('{"a": [1], "a": [2]}', "'a' comes twice"),
        ('{"a": [{"x": 1, "x": 2}]}', "the key 'x' comes 2 times in one object"),
        ('{"a": [' + "[" * 100_000, "recursion"),
        ('{"a": [' + "1" * 5000 + "]}", "digits"),
        ('{"a": ["\x01"]}', "control character"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"(?s)a\.json: not the JSON file that was expected \(.*{message}"):
        list(scan_items(path, ("a",)))


def test_text_that_is_no_utf8_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": ["\xff"]}')
    with pytest.raises(ValueError, match=r"a\.json: not the JSON file"):
        list(scan_items(path, ("a",)))


def test_a_mark_of_utf8_is_passed_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": ["ö"]}', encoding="utf-8-sig")
    (item,) = scan_items(path, ("a",))
    assert read_items(path, np.array([item.span])) == ["ö"]


def test_a_file_that_changed_is_an_error(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [{"x": 1}]}')
    (item,) = scan_items(path, ("a",))
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json: was changed since it was opened"):
        read_items(path, np.array([item.span]))
    with pytest.raises(FileNotFoundError, match=r"b\.json: no such file"):
        list(scan_items(tmp_path / "b.json", ("a",)))
