import csv
import json

import numpy as np
import pytest

from jaxvision.data import Vocabulary
from jaxvision.sequence import WordSpace
from jaxvision.tasks import WordReportOptions, word_report
from jaxvision.tasks.word_report import (
    document_names,
    evaluate_words,
    telling_words,
    write_word_report,
)
from jaxvision.weights import read_word_vectors

RNG = np.random.default_rng(0)
WORDS = ["the", *(f"w{index}" for index in range(9))]
COUNTS = [9000, *range(90, 0, -10)]


@pytest.fixture
def space():
    return WordSpace(Vocabulary(WORDS, counts=COUNTS), RNG.normal(size=(10, 4)).astype(np.float32))


def test_words_that_are_thinned_out_tell_nothing(space):
    assert telling_words(space.vocabulary, 1e-2).tolist() == list(range(1, 10))
    assert telling_words(space.vocabulary, None).tolist() == list(range(10))
    assert telling_words(space.vocabulary, 1e-9).tolist() == list(range(10)), "where all are, all are taken"


def test_names_of_documents_have_no_blanks_and_differ():
    assert document_names(["a b", "a_b", "", "c", "a  b"]) == ["a_b", "a_b#2", "_", "c", "a_b#3"]
    assert document_names(["a", "a", "a#2", "a", "a#2"]) == ["a", "a#2", "a#2#2", "a#3", "a#2#3"]
    assert document_names(["a#2", "a", "a"]) == ["a#2", "a", "a#3"]


def test_a_report_leaves_vectors_tables_and_a_map(space, tmp_path, capsys):
    (tmp_path / "pairs.tsv").write_text("w0\tw1\t3\nw2\tw3\t1\nw4\tpope\t2\n")
    (tmp_path / "analogies.txt").write_text(": all\nw0 w1 w2 w3\nw0 w1 w2 pope\n")
    options = WordReportOptions(
        neighbours=3,
        map_words=5,
        words=("w0", "the"),
        similarity=tmp_path / "pairs.tsv",
        analogies=tmp_path / "analogies.txt",
    )
    scores = write_word_report(tmp_path, space, options, subsample=1e-2, scores={"loss": 1.5})
    assert set(scores) == {
        *("loss", "similarity", "similarity_pairs", "analogy_add", "analogy_mul", "analogy_questions")
    }
    assert scores["similarity_pairs"] == 2 and abs(scores["similarity"]) == pytest.approx(1)
    assert scores["analogy_questions"] == 1 and json.loads((tmp_path / "scores.json").read_text()) == scores
    for name in ("vectors.txt", "vectors.bin"):
        found = read_word_vectors(tmp_path / name)
        assert found.words == tuple(WORDS)
        np.testing.assert_array_equal(found.vectors, space.vectors)
    with (tmp_path / "neighbours.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == ["w0", "the"]
    assert rows[0]["neighbour1"] == space.nearest("w0", k=1)[0][0]
    assert (tmp_path / "map.png").exists() and not (tmp_path / "curves.png").exists()
    assert "w0" in capsys.readouterr().out


def test_the_map_is_of_directions_so_that_a_long_vector_does_not_fill_it(space, tmp_path, monkeypatch):
    maps = []
    monkeypatch.setattr(word_report, "plot_word_map", lambda path, words, points, title: maps.append(points))
    longer = WordSpace(
        space.vocabulary, np.asarray(space.vectors) * np.r_[100.0, np.ones(9)].astype(np.float32)[:, None]
    )
    for one in (space, longer):
        write_word_report(tmp_path, one, WordReportOptions(neighbours=2), subsample=None, scores={})
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    assert np.ptp(maps[0], axis=0).min() > 0.1


@pytest.mark.slow
def test_the_map_by_tsne(space, tmp_path):
    options = WordReportOptions(map="tsne", neighbours=2)
    write_word_report(tmp_path, space, options, subsample=None, scores={})
    assert (tmp_path / "map.png").exists()


def test_characters_are_no_words_of_the_formats(tmp_path):
    space = WordSpace(Vocabulary(["a", " "], counts=[2, 1]), np.eye(2, dtype=np.float32))
    write_word_report(tmp_path, space, WordReportOptions(), subsample=None, scores={})
    assert not (tmp_path / "vectors.txt").exists() and (tmp_path / "neighbours.csv").exists()


def test_without_files_there_is_nothing_to_evaluate(space):
    assert evaluate_words(space, WordReportOptions()) == {}


def test_a_file_to_evaluate_with_that_is_gone_costs_no_vectors(space, tmp_path):
    options = WordReportOptions(analogies=tmp_path / "absent.txt")
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        write_word_report(tmp_path, space, options, subsample=None, scores={})
    assert {path.name for path in tmp_path.iterdir()} >= {"vectors.txt", "vectors.bin", "neighbours.csv"}


def test_unknown_words_are_named(space, tmp_path):
    with pytest.raises(ValueError, match=r"'w10' is not in the vocabulary.*did you mean"):
        write_word_report(tmp_path, space, WordReportOptions(words=("w10",)), subsample=None, scores={})
    assert not list(tmp_path.iterdir())
