"""Texts, sentences and words as rows of numbers."""

import numpy as np
import pytest

from jaxvision.data import PADDING, UNKNOWN, TaggedSentence, Vocabulary
from jaxvision.tasks.recognition_options import BLANK_TOKEN, encode_words
from jaxvision.tasks.tagging_options import TaggingData, TagVocabularies, encode_sentences
from jaxvision.tasks.text_classification_options import encode_texts

WORDS = Vocabulary([PADDING, UNKNOWN, "a", "b"])


def test_texts_are_padded_cut_and_counted():
    found = encode_texts(["A b a", "b x", "", "<pad> a"], WORDS, tokens="words", length=2)
    assert found.tokens.tolist() == [[2, 3], [3, 1], [0, 0], [1, 2]] and found.tokens.dtype == np.int32
    assert (found.cut, found.empty) == (1, 1)
    assert found.unknown == pytest.approx(2 / 7)
    padding = encode_texts(["a <pad> b"], WORDS, tokens="whitespace", length=4)
    assert padding.tokens.tolist() == [[2, 1, 3, 0]], "a hole in the text would end it"
    assert encode_texts([], WORDS, tokens="words", length=2).tokens.shape == (0, 2)
    with pytest.raises(ValueError, match="length: got 0"):
        encode_texts(["a"], WORDS, tokens="words", length=0)
    with pytest.raises(ValueError, match="expected one of words"):
        encode_texts(["a"], WORDS, tokens="bytes", length=2)


def test_sentences_have_tokens_tags_and_characters():
    vocabularies = TagVocabularies(
        Vocabulary([PADDING, UNKNOWN, "anna", "00"]),
        Vocabulary(["O", "B-PER"]),
        Vocabulary([PADDING, UNKNOWN, "A", "n", "a"]),
    )
    sentences = [
        TaggedSentence("f:1", ("Anna", "42", "met", "Anna"), ("B-PER", "O", "O", "B-PER")),
        TaggedSentence("f:6", ("<pad>",), ("O",)),
        TaggedSentence("f:8", (), ()),
    ]
    data = TaggingData(source="conll", max_length=3, letters=3)
    found = encode_sentences(sentences, vocabularies, data)
    assert found.arrays["tokens"].tolist() == [[2, 3, 1], [1, 0, 0], [0, 0, 0]]
    assert found.arrays["labels"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert found.arrays["characters"][0].tolist() == [[2, 3, 3], [1, 1, 0], [1, 1, 1]]
    assert not found.arrays["characters"][2].any()
    assert found.lengths.tolist() == [3, 1, 0] and found.cut == 1
    without = encode_sentences(sentences, vocabularies._replace(characters=None), data)
    assert without.arrays.keys() == {"tokens", "labels"}
    strange = TaggedSentence("f:9", ("x",), ("B-LOC",))
    with pytest.raises(ValueError, match=r"f:9: tag 'B-LOC' is not among those .* \(O, B-PER\)"):
        encode_sentences([strange], vocabularies, data)


class Texts:
    def __init__(self, *texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        raise AssertionError("no picture is looked at")


def test_words_are_rows_of_labels_that_the_columns_hold():
    alphabet = Vocabulary((BLANK_TOKEN, *"abc"))
    rows = encode_words(Texts("ab", "", "cca"), alphabet, steps=4, part="training")
    assert rows.tolist() == [[1, 2, -1], [-1, -1, -1], [3, 3, 1]] and rows.dtype == np.int32
    assert encode_words(Texts(), alphabet, steps=4, part="test").shape == (0, 0)
    with pytest.raises(ValueError, match="training picture 1 says 'ax': 'x' is not in the alphabet 'abc'"):
        encode_words(Texts("a", "ax"), alphabet, steps=4, part="training")
    with pytest.raises(
        ValueError, match=r"says 'ccaa': its 4 characters need 6 columns .* and the network has 5"
    ):
        encode_words(Texts("ccaa"), alphabet, steps=5, part="test")
