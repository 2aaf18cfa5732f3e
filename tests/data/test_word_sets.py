import pytest

from jaxvision.data import read_analogies, read_word_pairs


@pytest.mark.parametrize(
    "content",
    [
        "Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7.35\n",  # WordSim-353
        "# comment\nlove\tsex\t6.77\t1\ntiger\tcat\t7.35\t2\n\n",
        "love sex 6.77\ntiger cat 7.35",
        'love,sex,A,6.77\n"tiger", cat ,B,7.35,9\n',  # SimLex-999 has the part of speech before the score
    ],
)
def test_pairs_in_the_usual_layouts(tmp_path, content):
    (tmp_path / "pairs.csv").write_text(content)
    assert read_word_pairs(tmp_path / "pairs.csv") == [("love", "sex", 6.77), ("tiger", "cat", 7.35)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no pair of words with a score in it"),
        ("a,b,score\n", "no pair of words"),
        ("a b 1\nc d\n", "line 2 is 'c d', expected two words and a number"),
        ("a b\n", "line 1 is 'a b'"),
        ("a,b,1\n,d,2\n", "line 2 is ',d,2'"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path, content, message):
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_word_pairs(tmp_path / "pairs.csv")


def test_analogies_by_section(tmp_path):
    path = tmp_path / "questions-words.txt"
    path.write_text(
        "a b c d\n: capital-common\nAthens Greece Oslo Norway\n\n: empty\n: family\nboy girl he she\n"
    )
    assert read_analogies(path) == {
        "": [("a", "b", "c", "d")],
        "capital-common": [("Athens", "Greece", "Oslo", "Norway")],
        "family": [("boy", "girl", "he", "she")],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no analogy in it"),
        (b": family\n", "no analogy in it"),
        (b": family\nboy girl he\n", "line 2 is 'boy girl he', expected four words"),
        (b"a b c \xff\n", "byte 0xff at offset 6"),
    ],
)
def test_what_is_no_list_of_analogies_is_refused(tmp_path, content, message):
    (tmp_path / "q.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_analogies(tmp_path / "q.txt")
    with pytest.raises(FileNotFoundError, match="no such text file"):
        read_analogies(tmp_path / "none.txt")
