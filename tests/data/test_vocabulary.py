import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxvision.data import END, PADDING, UNKNOWN, Vocabulary, check_same_vocabulary

COUNTS = {"b": 3, "a": 3, "c": 7, "rare": 1, "<eos>": 4}


def test_tokens_come_by_falling_count_and_then_by_name():
    vocabulary = Vocabulary.build(COUNTS)
    assert vocabulary.tokens == ("c", "<eos>", "a", "b", "rare")
    assert vocabulary.counts.tolist() == [7, 4, 3, 3, 1]
    assert vocabulary.counts.dtype == np.int64


def test_specials_come_first_and_unknown_counts_what_is_left_out():
    vocabulary = Vocabulary.build(COUNTS, min_count=3, max_size=5, specials=(PADDING, UNKNOWN, END))
    assert vocabulary.tokens == (PADDING, UNKNOWN, END, "c", "a")
    assert vocabulary.counts.tolist() == [0, 1 + 3, 4, 7, 3]
    assert vocabulary.encode(["a", "rare", END, "b"]).tolist() == [4, 1, 2, 1]
    assert vocabulary.encode([]).dtype == np.int32
    assert vocabulary.decode([4, 0]) == ["a", PADDING]
    assert "a" in vocabulary and "rare" not in vocabulary and len(vocabulary) == 5


def test_a_token_that_reads_as_padding_is_unknown():
    vocabulary = Vocabulary.build({"a": 3, PADDING: 2, "b": 1}, min_count=2, specials=(PADDING, UNKNOWN))
    assert vocabulary.tokens == (PADDING, UNKNOWN, "a")
    assert vocabulary.counts.tolist() == [0, 2 + 1, 3]
    assert vocabulary.encode(["a", PADDING, "a"]).tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="token 1, '<pad>', is not in the vocabulary, which has no <unk>"):
        Vocabulary([PADDING, "a"]).encode(["a", PADDING])


def test_a_token_without_unknown_is_named():
    vocabulary = Vocabulary(["house", "mouse"])
    with pytest.raises(ValueError, match=r"token 1, 'hause', .* did you mean 'house', 'mouse'\?.*<unk>"):
        vocabulary.encode(["house", "hause"])
    with pytest.raises(ValueError, match=r"'mousse' is not in the vocabulary of 2 tokens; did you mean"):
        vocabulary.index("mousse")
    with pytest.raises(ValueError, match=r"'x' is not in the vocabulary of 2 tokens$"):
        vocabulary.index("x")
    with pytest.raises(ValueError, match="index -1: expected 0 to 1"):
        vocabulary.decode([0, -1])


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match=r"none of 5 different tokens comes min_count = 8 times .* 7 times"):
        Vocabulary.build(COUNTS, min_count=8)
    with pytest.raises(ValueError, match="none of 0 different tokens"):
        Vocabulary.build({})
    with pytest.raises(ValueError, match="min_count: got 0"):
        Vocabulary.build(COUNTS, min_count=0)
    with pytest.raises(ValueError, match="max_size: got 1, expected at least 2"):
        Vocabulary.build(COUNTS, max_size=1, specials=(UNKNOWN, END))
    with pytest.raises(ValueError, match="a twice"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="1 counts for 2 tokens"):
        Vocabulary(["a", "b"], counts=[1])


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 10**12)))
def test_any_tokens_survive_the_file(tmp_path_factory, counts):
    path = tmp_path_factory.mktemp("vocabulary") / "v.txt"
    vocabulary = Vocabulary(counts, counts=counts.values())
    vocabulary.save(path)
    if counts:
        loaded = Vocabulary.load(path)
        assert loaded == vocabulary and loaded.counts.tolist() == vocabulary.counts.tolist()


def test_the_file_is_plain_text(tmp_path):
    Vocabulary(["é", "\n", "\\n", " "], counts=[4, 3, 2, 1]).save(tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_bytes().decode() == "é\t4\n\\n\t3\n\\\\n\t2\n \t1\n"
    (tmp_path / "plain.txt").write_bytes(b"a\r\nb\r\n")
    assert Vocabulary.load(tmp_path / "plain.txt").tokens == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\t1\n\nb\t2\n", r"v\.txt: line 2 is ''"),
        (b"a\tmany\n", r"v\.txt: line 1 is 'a\\tmany'"),
        (b"", r"v\.txt: line 1 is ''"),
        (b"a\t1\na\t2\n", r"v\.txt: vocabulary: a twice"),
        (b"a\t1\n\xe9\t2\n", r"v\.txt: byte 0xe9 at offset 4 \(line 2\) is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Vocabulary.load(tmp_path / "v.txt")


def test_another_models_vocabulary_is_named():
    mine = Vocabulary(["a", "b"])
    check_same_vocabulary(mine, Vocabulary(["a", "b"], counts=[5, 4]), name="runs/x")
    with pytest.raises(
        ValueError, match=r"runs/x: .* 2 tokens there, 2 here; index 1 is 'c' there and 'b' here"
    ):
        check_same_vocabulary(mine, Vocabulary(["a", "c"]), name="runs/x")
    with pytest.raises(ValueError, match="3 tokens there, 2 here; index 2 is 'c' there and nothing here"):
        check_same_vocabulary(mine, Vocabulary(["a", "b", "c"]), name="runs/x")
    assert mine != "a" and len({mine, Vocabulary(["a", "b"])}) == 1
