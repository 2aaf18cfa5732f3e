"""Vectors of a file for the tokens of a run, and the vocabulary of a resumed one."""

from pathlib import Path

import numpy as np
import pytest

from jaxvision.data import PADDING, UNKNOWN, Vocabulary
from jaxvision.tasks.text_vocabulary import (
    check_resumed_vocabulary,
    embedding_width,
    load_vectors,
    read_vector_table,
    with_vectors,
)

VOCABULARY = Vocabulary([PADDING, UNKNOWN, "cat", "dog"])


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("dog 1 20\ncow 3 40\n<pad> 5 60\n")
    return path


def test_known_tokens_have_their_vectors_padding_none_and_others_the_files_spread(vectors):
    found = read_vector_table(vectors, VOCABULARY, seed=3, format="glove")
    assert found.table.shape == (4, 2) and found.table.dtype == np.float32
    assert found.found == 1, "padding has a vector in this file, which is not taken"
    assert found.table[3].tolist() == [1, 20] and found.table[0].tolist() == [0, 0]
    read = np.array([[1, 20], [3, 40], [5, 60]])
    expected = np.random.default_rng(3).normal(read.mean(0), read.std(0), (4, 2))
    np.testing.assert_allclose(found.table[1:3], expected[1:3], rtol=1e-6)


def test_a_file_without_any_of_the_tokens_is_refused(vectors):
    with pytest.raises(
        ValueError, match=r"none of the 2 tokens of the data \(x, y\) is among its words \(dog"
    ):
        read_vector_table(vectors, Vocabulary(["x", "y"]), seed=0, format="glove")


def test_loading_says_how_many_tokens_have_a_vector(vectors, capsys):
    assert load_vectors(None, VOCABULARY, seed=0) is None
    table = load_vectors(vectors, VOCABULARY, seed=3, format="glove")
    np.testing.assert_array_equal(table, read_vector_table(vectors, VOCABULARY, seed=3, format="glove").table)
    assert capsys.readouterr().out == f"{vectors}: vectors of 1 of 4 tokens\n"


def test_the_width_is_that_of_the_file_or_the_one_given():
    path = Path("glove.txt")
    widths = [
        embedding_width(given, table, vectors=path, usual=9) for given, table in ((None, None), (5, None))
    ]
    widths += [embedding_width(given, 7, vectors=path, usual=9) for given in (None, 7)]
    assert widths == [9, 5, 7, 7]
    with pytest.raises(ValueError, match=r"embedding 5: the vectors in glove\.txt have 7 numbers"):
        embedding_width(5, 7, vectors=path, usual=9)


def test_a_table_takes_the_place_of_a_networks():
    variables = {"params": {"embedding": {"embedding": np.zeros((4, 2))}, "head": {"bias": np.ones(3)}}}
    table = np.arange(8.0).reshape(4, 2)
    found = with_vectors(variables, table, path="embedding/embedding")
    np.testing.assert_array_equal(found["params"]["embedding"]["embedding"], table)
    assert found["params"]["head"]["bias"].tolist() == [1, 1, 1]
    with pytest.raises(
        ValueError, match=r"\[4, 3\] for a table of \[4, 2\]; give the network embeddings of wid"
    ):
        with_vectors(variables, np.zeros((4, 3)), path="embedding/embedding")


def test_a_resumed_run_keeps_its_vocabulary(tmp_path):
    check_resumed_vocabulary(VOCABULARY, None)
    check_resumed_vocabulary(VOCABULARY, tmp_path)  # it was stopped before it wrote one
    VOCABULARY.save(tmp_path / "vocabulary.txt")
    check_resumed_vocabulary(VOCABULARY, tmp_path)
    with pytest.raises(ValueError, match="the vocabulary of another model: 4 tokens there, 1 here"):
        check_resumed_vocabulary(Vocabulary(["a"]), tmp_path)
