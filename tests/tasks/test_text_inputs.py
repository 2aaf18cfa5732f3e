"""Texts from the command line and from files, and networks run over rows."""

import numpy as np
import pytest

from jaxvision.tasks.text_inputs import gather_texts, predict_rows


def test_texts_come_first_and_then_files_in_order(tmp_path):
    (tmp_path / "b.txt").write_text("second\nfile\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    long = "word " * 20
    found, broken = gather_texts([tmp_path], ["short", long], by="file", encoding="utf-8")
    assert broken == 0
    assert [document.text for document in found] == ["short", long, "first", "second\nfile\n"]
    names = [document.name for document in found]
    assert names[0] == "short" and len(names[1]) == 60 and names[1] == f"{long[:59]}…"
    assert names[2:] == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    lines, _ = gather_texts([tmp_path / "b.txt"], [], by="line", encoding="utf-8")
    assert [document.text for document in lines] == ["second", "file"]


def test_a_file_of_another_encoding_is_named_and_left_out(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "b.txt").write_text("good", encoding="utf-8")
    found, broken = gather_texts([tmp_path], [], by="file", encoding="utf-8")
    assert [document.text for document in found] == ["good"] and broken == 1
    assert "a.txt: byte 0xe9" in capsys.readouterr().err
    found, broken = gather_texts([tmp_path / "a.txt"], [], by="file", encoding="latin-1")
    assert (found[0].text, broken) == ("café", 0)


def test_nothing_to_predict_is_said(tmp_path):
    with pytest.raises(ValueError, match="nothing to predict; give --text"):
        gather_texts([], [], by="file", encoding="utf-8")
    with pytest.raises(ValueError, match="--text: got an empty text"):
        gather_texts([], ["a", " \n"], by="file", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="absent"):
        gather_texts([tmp_path / "absent"], [], by="file", encoding="utf-8")


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_rows_are_predicted_in_batches_of_one_size(count):
    sizes = []

    def predict(batch):
        assert batch.keys() == {"a", "b"}
        sizes.append(len(batch["a"]))
        return batch["a"] * 10 + batch["b"][:, None]

    arrays = {"a": np.arange(2 * count).reshape(count, 2), "b": np.arange(count)}
    rows = predict_rows(predict, arrays, batch_size=2)
    assert sizes == [2] * -(-count // 2)
    assert len(rows) == count
    for index, row in enumerate(rows):
        assert row.tolist() == [20 * index + index, 10 * (2 * index + 1) + index]


def test_a_batch_holds_a_row_or_more():
    with pytest.raises(ValueError, match="batch_size: got 0, expected 1 or more"):
        predict_rows(lambda batch: batch, {"a": np.zeros(3)}, batch_size=0)
