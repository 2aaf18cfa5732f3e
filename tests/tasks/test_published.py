import pytest

from jaxvision.tasks.published import check_filled, names_of_classes


def test_names_come_from_the_file_else_from_what_is_known(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("ä\n\n b \n", encoding="utf-8")
    assert names_of_classes(2, file, [("x", "y")]) == ("ä", "b")
    assert names_of_classes(2, None, [("z",), ("x", "y")]) == ("x", "y")
    assert names_of_classes(3, None, [("x", "y")]) == ("class 0", "class 1", "class 2")
    with pytest.raises(ValueError, match=r"names.txt: got 2 names, expected 3"):
        names_of_classes(3, file, [])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        names_of_classes(1, file, [])
    with pytest.raises(FileNotFoundError):
        names_of_classes(1, tmp_path / "absent.txt", [])


def test_leaves_that_no_file_gave_are_refused():
    check_filled("a.pth", ())
    with pytest.raises(
        ValueError, match=r"a\.pth: has another number of classes .* leave head/bias untrained"
    ):
        check_filled("a.pth", ("head/bias", "head/kernel"))
