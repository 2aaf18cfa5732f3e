"""Texts with classes, in tables and in folders."""

import numpy as np
import pytest

from jaxvision.data import CsvTexts, LabelledTexts, TextFolder


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "pos/b.txt": "good",
        "pos/deep/a.md": "very good",
        "pos/.hidden/c.txt": "not seen",
        "pos/d.bin": "not text",
        "neg/z.txt": "bad",
        ".git/x.txt": "no class",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_a_class_in_the_order_of_names(folder):
    source = TextFolder(folder)
    assert source.class_names == ("neg", "pos") and len(source) == 3
    assert source.labels.tolist() == [0, 1, 1] and source.labels.dtype == np.int32
    records = [source[index] for index in range(3)]
    assert [(r["name"], r["text"], int(r["label"])) for r in records] == [
        ("neg/z.txt", "bad", 0),
        ("pos/b.txt", "good", 1),
        ("pos/deep/a.md", "very good", 1),
    ]


def test_a_test_folder_has_the_classes_of_the_training_folder(folder):
    (folder / "neg" / "z.txt").unlink()
    (folder / "neg").rmdir()
    source = TextFolder(folder, class_names=("pos", "neg"))
    assert source.class_names == ("pos", "neg") and source.labels.tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"pos: no such class, expected folders named like neg, other"):
        TextFolder(folder, class_names=("neg", "other"))


def test_damaged_folders_are_named(folder):
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        TextFolder(folder / "absent")
    with pytest.raises(ValueError, match=r"neg.*2"):  # one class alone
        TextFolder(folder, class_names=("neg",))
    (folder / "neg" / "z.txt").write_bytes("schön".encode("latin-1"))
    with pytest.raises(ValueError, match=r"z\.txt: byte 0xf6"):
        TextFolder(folder)
    assert TextFolder(folder, encoding="latin-1")[0]["text"] == "schön"
    (folder / "neg" / "z.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"z\.txt: an empty text; remove the file"):
        TextFolder(folder)
    (folder / "neg" / "z.txt").unlink()
    with pytest.raises(ValueError, match="no text of class neg, expected files ending in"):
        TextFolder(folder)


def test_a_table_by_commas_or_tabs(tmp_path):
    (tmp_path / "a.csv").write_text('id,review,stars\n1,"good, really",5\n2,bad,1\n')
    source = CsvTexts(tmp_path / "a.csv", text_column="review", label_column="stars")
    assert source.class_names == ("1", "5") and source.labels.tolist() == [1, 0]
    assert source[0]["text"] == "good, really" and source[1]["name"] == f"{tmp_path / 'a.csv'}:3"
    (tmp_path / "b.tsv").write_text("text\tlabel\nfine, fine\tpos\n")
    source = CsvTexts(tmp_path / "b.tsv", class_names=("neg", "pos"))
    assert source[0]["text"] == "fine, fine" and source.labels.tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"c\.csv: no such file"):
        CsvTexts(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "texts: got none"),
        (["a"], [0, 1], "got 1 with 2 labels"),
        (["a", "b"], [0, 2], "labels: got 0 to 2, expected 0 to 1"),
    ],
)
def test_texts_and_labels_must_fit(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        LabelledTexts(texts, labels, class_names=("x", "y"))
