"""Files written byte by byte here, files that gensim reads and writes, and broken ones."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.weights import read_word_vectors, write_word_vectors

WORDS = ("the", "naïve", "字")
VECTORS = np.array([[0.1, -2.0], [1e-30, 3.5], [float(2**20), -0.0]], np.float32)
FORMATS = {"text": "v.txt", "binary": "v.bin", "glove": "glove.txt"}


def _same(found, words=WORDS, vectors=VECTORS):
    assert found.words == tuple(words) and found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, vectors)


def test_the_layouts_of_the_authors_programs_are_read(tmp_path):
    (tmp_path / "v.txt").write_text("3 2\nthe 0.1 -2 \nnaïve 1e-30 3.5 \n字 1048576 -0 \n")
    (tmp_path / "glove.txt").write_text("the 0.1 -2\nnaïve 1e-30 3.5\n字 1048576 -0\n")
    rows = zip(WORDS, VECTORS, strict=True)
    records = [word.encode() + b" " + struct.pack("<2f", *vector) for word, vector in rows]
    (tmp_path / "authors.bin").write_bytes(b"3 2\n" + b"".join(record + b"\n" for record in records))
    (tmp_path / "gensim.bin").write_bytes(b"3 2\n" + b"".join(records))
    for name in ("v.txt", "glove.txt", "authors.bin", "gensim.bin"):
        _same(read_word_vectors(tmp_path / name))
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        _same(read_word_vectors(packed))
        _same(read_word_vectors(tmp_path / name, limit=2), WORDS[:2], VECTORS[:2])


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read(tmp_path, format):
    path = tmp_path / "new" / FORMATS[format]
    write_word_vectors(path, WORDS, VECTORS, format=format)
    _same(read_word_vectors(path))
    _same(read_word_vectors(path, format=format))


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda word: word.isprintable() and word.split() == [word]),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
    ),
    st.sampled_from(["text", "binary"]),
)
def test_any_words_and_numbers_survive(tmp_path_factory, rows, format):
    path = tmp_path_factory.mktemp("vectors") / "v"
    write_word_vectors(path, list(rows), np.array(list(rows.values())), format=format)
    _same(read_word_vectors(path, format=format), rows, np.array(list(rows.values()), np.float32))


def test_words_of_gloves_largest_file_hold_blanks(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.1 -2\n. . . 1 2\n")
    assert read_word_vectors(tmp_path / "glove.txt").words == ("the", ". . .")


def test_a_word_that_comes_again_keeps_its_first_vector(tmp_path, caplog):
    """GloVe's largest file holds one, of two replacement characters."""
    rows = [("the", 1.0), ("\ufffd\ufffd", 2.0), ("the", 3.0), ("of", 4.0), ("\ufffd\ufffd", np.nan)]
    text = "".join(f"{word} {value}\n" for word, value in rows)
    (tmp_path / "glove.txt").write_text(text)
    (tmp_path / "v.txt").write_text(f"5 1\n{text}")
    records = [word.encode() + b" " + struct.pack("<f", value) for word, value in rows]
    (tmp_path / "v.bin").write_bytes(b"5 1\n" + b"".join(records))
    for name in FORMATS.values():
        caplog.clear()
        _same(read_word_vectors(tmp_path / name), ("the", "\ufffd\ufffd", "of"), [[1.0], [2.0], [4.0]])
        assert "2 left out that came again: 'the'" in caplog.text
        _same(
            read_word_vectors(tmp_path / name, limit=3), ("the", "\ufffd\ufffd", "of"), [[1.0], [2.0], [4.0]]
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", b"", "no word vector in it"),
        ("v.txt", b"0 2\n", "no word vector in it"),
        ("v.txt", b"3 2\nthe 0 1\nof 2 3\n", "2 words, but its first line tells 3; the file is cut off"),
        ("v.txt", b"1 2\nthe 0 1\nof 2 3\n", "2 words, but its first line tells 1"),
        ("v.txt", b"2 2\nthe 0 1\nof 2\n", "line 3: 1 values behind b'of', expected 2; the file is cut off"),
        ("v.txt", b"2 2\nthe 0 1\nof 2 x\n", "line 3: .*expected a word and 2 numbers"),
        ("v.txt", b"3 2\nthe 0 1\nthe 2 3\n", "2 words, but its first line tells 3"),
        ("v.txt", b"2 2\nthe 0 1\nof 2 nan\n", "line 3: the vector of 'of' has a number that is not finite"),
        ("glove.txt", b"the 0 1\nof inf 3\n", "line 2: the vector of 'of' has a number that is not finite"),
        ("v.txt", b"1 2\n\xff\xfe 0 1\n", "line 2: .* is not UTF-8"),
        ("glove.txt", b"the 0 1\nof 2\n", "line 2: 1 values behind b'of', expected 2"),
        ("v.bin", b"", "it starts with b'', expected the numbers of words"),
        ("v.bin", b"the 0 1\n", "it starts with b'the 0 1.*is it a text file"),
        ("v.bin", b"2 1\nthe " + bytes(4) + b"of ", "cut off in word 2 of 2, at byte 12 of 15"),
        ("v.bin", b"2 1\nthe " + bytes(4), "cut off in word 2 of 2"),
        ("v.bin", b"1 1\nthe " + bytes(4) + b"of " + bytes(4), "more than the 1 words of 1 values"),
        ("v.bin", b"0 1\n", "no word vector in it"),
        ("v.bin", b"1 1\nthe " + struct.pack("<f", np.nan), "word 1: the vector of 'the' has a number that"),
        ("v.txt.gz", b"no gzip", "not a whole gzip file"),
        ("v.txt.gz", gzip.compress(b"2 1\nthe 0\nof 1\n", mtime=0)[:-12], "not a whole gzip file"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_word_vectors(tmp_path / name)


def test_what_cannot_be_read_or_written_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of word vectors"):
        read_word_vectors(tmp_path / "v.txt")
    (tmp_path / "v.txt").write_text("the 1\n")
    for options, message in (
        ({"format": "numpy"}, "format: expected one of text, binary, glove, got 'numpy'"),
        ({"limit": 0}, "limit: got 0, expected 1 or more"),
        ({"format": "text"}, "line 1 is b'the 1.*expected how many words"),
    ):
        with pytest.raises(ValueError, match=message):
            read_word_vectors(tmp_path / "v.txt", **options)
    for words, vectors, message in (
        (["a"], np.ones((2, 3)), r"expected \[1, D\], one a word, got \[2, 3\]"),
        (["a b", ""], np.ones((2, 3)), "'a b', '' cannot be written, for blanks end a word"),
        (["a", "a"], np.ones((2, 3)), "a twice, expected each word once"),
    ):
        with pytest.raises(ValueError, match=message):
            write_word_vectors(tmp_path / "w.txt", words, vectors)
    with pytest.raises(ValueError, match="format: expected one of"):
        write_word_vectors(tmp_path / "w.txt", ["a"], np.ones((1, 1)), format="bin")
    assert not (tmp_path / "w.txt").exists()


@pytest.mark.parity
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_gensim_reads_what_is_written_and_writes_what_is_read(tmp_path, format):
    from gensim.models import KeyedVectors

    options = {"binary": format == "binary", "no_header": format == "glove"}
    path = tmp_path / FORMATS[format]
    write_word_vectors(path, WORDS, VECTORS, format=format)
    loaded = KeyedVectors.load_word2vec_format(str(path), **options)
    assert tuple(loaded.index_to_key) == WORDS
    np.testing.assert_array_equal(loaded.vectors, VECTORS)
    again = tmp_path / f"again-{FORMATS[format]}"
    header = {} if format == "glove" else {"write_header": True}
    loaded.save_word2vec_format(str(again), binary=format == "binary", **(header or {"write_header": False}))
    found = read_word_vectors(again)
    assert found.words == WORDS
    np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-6)
