"""Chunks, thinning and windows against plain Python."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.sequence import Word2Vec, draw_words, keep_probability, window_pairs, word_corpus
from jaxvision.sequence.word_corpus import NOWHERE, close_gaps

MODEL = Word2Vec(7)
COUNTS = np.array([9, 3, 4, 1, 6, 2, 5])


def _text(lengths, seed=0):
    tokens = np.random.default_rng(seed).integers(0, 7, sum(lengths)).astype(np.int32)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return tokens, owners, owners // 2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum), st.integers(1, 12))
def test_chunks_cover_the_text_and_cut_only_sentences_that_are_too_long(lengths, chunk_size):
    corpus = word_corpus(MODEL, *_text(lengths), COUNTS, chunk_size=chunk_size)
    starts, ends = np.asarray(corpus.starts), np.asarray(corpus.ends)
    size = sum(lengths)
    assert starts[0] == 0 and ends[-1] == size == corpus.num_words and (starts[1:] == ends[:-1]).all()
    assert (ends > starts).all() and (ends - starts).max() == corpus.chunk_size <= chunk_size
    borders = {0, *itertools.accumulate(lengths)}
    sentences = np.asarray(corpus.sentences)
    for end in ends[:-1]:
        if end not in borders:
            assert (sentences[:size] == sentences[end]).sum() > chunk_size
    assert len(corpus.tokens) == size + corpus.chunk_size


def test_every_word_is_drawn_where_none_is_thinned_out():
    tokens, sentences, documents = _text([3, 4, 2, 5])
    corpus = word_corpus(MODEL, tokens, sentences, documents, COUNTS, chunk_size=6, subsample=None)
    draw = jax.jit(draw_words, static_argnames=("chunk_size", "shuffle"))
    parts, mixed = [], []
    for chunk in range(len(corpus.starts)):
        key = jax.random.key(chunk)
        words = draw(key, corpus, np.int32(chunk), chunk_size=corpus.chunk_size)
        parts.append([np.asarray(array[: int(words.total)]) for array in words[:3]])
        assert (words.sentences[int(words.total) :] == NOWHERE).all()
        shuffled = draw(key, corpus, np.int32(chunk), chunk_size=corpus.chunk_size, shuffle=True)
        mixed.append([np.asarray(array[: int(shuffled.total)]) for array in shuffled[:3]])
    for found, expected in zip(zip(*parts, strict=True), (tokens, sentences, documents), strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)
    found_tokens, found_sentences, _ = (np.concatenate(part) for part in zip(*mixed, strict=True))
    np.testing.assert_array_equal(found_sentences, sentences)
    assert not np.array_equal(found_tokens, tokens)
    for sentence in range(4):
        own = sentences == sentence
        assert sorted(found_tokens[own]) == sorted(tokens[own])


def test_words_are_kept_as_often_as_the_probability_says():
    tokens = np.repeat(np.arange(3, dtype=np.int32), [9000, 900, 100])
    zeros = np.zeros(10000, np.int32)
    counts = np.array([9000, 900, 100])
    corpus = word_corpus(Word2Vec(3), tokens, zeros, zeros, counts, chunk_size=10000, subsample=1e-2)
    words = jax.jit(draw_words, static_argnames="chunk_size")(
        jax.random.key(0), corpus, np.int32(0), chunk_size=10000
    )
    drawn = np.bincount(np.asarray(words.tokens[: int(words.total)]), minlength=3)
    expected = counts * keep_probability(counts, 1e-2)
    assert (np.abs(drawn - expected) <= 5 * np.sqrt(expected)).all() and drawn[2] == 100
    assert (np.diff(np.asarray(words.tokens[: int(words.total)])) >= 0).all(), "in the order of the text"


def test_the_probability_is_that_of_the_authors_program():
    # word2vec.c: (sqrt(count / (sample * total)) + 1) * (sample * total) / count.
    counts = np.array([5000, 800, 20, 1])
    scaled = 1e-3 * counts.sum()
    expected = np.minimum((np.sqrt(counts / scaled) + 1) * scaled / counts, 1)
    np.testing.assert_allclose(keep_probability(counts, 1e-3), expected, rtol=1e-12)
    assert keep_probability(np.array([0, 3]), 1e-3)[0] == 1
    assert keep_probability(counts, None).tolist() == [1] * 4
    with pytest.raises(ValueError, match="subsample: got 0, expected a share above 0"):
        keep_probability(counts, 0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_gaps_close(kept):
    places = jnp.arange(6, dtype=jnp.int32)
    words = close_gaps(jnp.array(kept), places, places + 10, places + 20)
    expected = [place for place, is_kept in enumerate(kept) if is_kept]
    assert int(words.total) == len(expected)
    for array, offset in ((words.tokens, 0), (words.sentences, 10), (words.documents, 20)):
        assert array[: len(expected)].tolist() == [place + offset for place in expected]
    assert (words.sentences[len(expected) :] == NOWHERE).all()


def test_windows_end_with_the_sentence_and_with_their_reach():
    sentences = np.array([3, 3, 3, 4, 4, NOWHERE])
    distance = np.arange(6) - np.arange(6)[:, None]
    reach = np.array([1, 2, 2, 1, 5, 5])
    pairs = window_pairs(
        jnp.asarray(sentences)[None], jnp.asarray(reach), distance, centre=jnp.asarray(sentences)
    )
    expected = [
        [
            float(i != j and abs(i - j) <= reach[i] and sentences[i] == sentences[j] != NOWHERE)
            for j in range(6)
        ]
        for i in range(6)
    ]
    assert pairs.tolist() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": np.zeros(3, np.int32)}, r"sentences: expected \[5\]"),
        ({"tokens": np.full(5, 7, np.int32)}, "tokens: got 7 to 7, expected 0 to 6"),
        ({"counts": np.ones(9)}, "counts: got 9 words for a model of 7"),
        ({"chunk_size": 0}, "chunk_size: got 0, expected 1 or more"),
        ({"subsample": -1.0}, "subsample: got -1.0"),
        ({"documents": np.full(5, 2, np.int32)}, "documents: got 2 to 2, expected 0 to 1"),
    ],
)
def test_what_is_no_text_of_the_model_is_refused(changes, message):
    tokens, sentences, documents = _text([3, 2])
    given = {
        "tokens": tokens,
        "sentences": sentences,
        "documents": documents,
        "counts": COUNTS,
        "chunk_size": 4,
        **changes,
    }
    model = Word2Vec(7, "pv_dbow", num_documents=2)
    with pytest.raises(ValueError, match=message):
        word_corpus(model, **given)


def test_an_empty_text_is_refused():
    empty = np.zeros(0, np.int32)
    with pytest.raises(ValueError, match="tokens: the text has no word, expected 1 or more"):
        word_corpus(MODEL, empty, empty, empty, COUNTS, chunk_size=4)
