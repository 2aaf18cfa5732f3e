"""A packed text on the device, with what is drawn from it: chunks, subsampled words, windows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import check_layout
from jaxvision.ops import AliasTable, alias_table
from jaxvision.sequence.huffman import HuffmanTree, huffman_tree
from jaxvision.sequence.word_model import Word2Vec

__all__ = [
    "NOISE_POWER",
    "NOWHERE",
    "WordCorpus",
    "Words",
    "close_gaps",
    "draw_words",
    "keep_probability",
    "window_pairs",
    "word_corpus",
]

NOISE_POWER = 0.75
"""Exponent of the counts in the noise distribution: Mikolov et al. 2013b, section 2.2."""

NOWHERE = np.int32(2**31 - 1)
"""The sentence and the document of what is no word."""


class WordCorpus(NamedTuple):
    """N words in S chunks, on the device.

    Attributes:
      tokens: int32 ``[N + chunk_size]``, indices in the vocabulary; behind the end, 0.
      sentences: int32, like ``tokens``; no window reaches over a sentence's end.
      documents: int32, like ``tokens``.
      starts: int32 ``[S]``, where each chunk starts.
      ends: int32 ``[S]``, where it ends: at the end of a sentence, unless one is longer than a chunk.
      keep: float32 ``[V]``, the probability that an occurrence of a word is kept.
      noise: the distribution of the negative samples.
      tree: the hierarchical softmax's tree, or None where negative samples are drawn.
    """

    tokens: jax.Array
    sentences: jax.Array
    documents: jax.Array
    starts: jax.Array
    ends: jax.Array
    keep: jax.Array
    noise: AliasTable
    tree: HuffmanTree | None

    @property
    def chunk_size(self) -> int:
        """Words of the longest chunk that the corpus is padded for."""
        return self.tokens.shape[0] - self.num_words

    @property
    def num_words(self) -> int:
        """N."""
        return int(self.ends[-1])


def word_corpus(
    model: Word2Vec,
    tokens: np.ndarray,
    sentences: np.ndarray,
    documents: np.ndarray,
    counts: np.ndarray,
    *,
    chunk_size: int,
    subsample: float | None = 1e-3,
) -> WordCorpus:
    """Puts a packed text on the device, with what a model draws from it.

    Args:
      model: what is learned.
      tokens: int32 ``[N]``, as in :class:`jaxvision.data.PackedText`.
      sentences: int32 ``[N]``, rising.
      documents: int32 ``[N]``, rising.
      counts: ``[V]``, of each word of the vocabulary in the text that is trained on.
      chunk_size: words that are drawn from at once, at most.
      subsample: threshold of :func:`keep_probability`; None keeps every word.

    Raises:
      ValueError: if the arrays are not ``[N]``, there is no word in the text or another number of them in the
        vocabulary than the model has, a token or document is out of range, or a number is.
    """
    for name, array in (("tokens", tokens), ("sentences", sentences), ("documents", documents)):
        check_layout(name, array, str(len(tokens)))  # type: ignore[arg-type]
    if not len(tokens):
        raise ValueError("tokens: the text has no word, expected 1 or more")
    _check_range("tokens", tokens, len(counts))
    if len(counts) != model.vocabulary_size:
        raise ValueError(f"counts: got {len(counts)} words for a model of {model.vocabulary_size}")
    if model.has_documents:
        _check_range("documents", documents, model.num_documents)
    if chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected 1 or more")
    starts, ends = _chunks(np.asarray(sentences), chunk_size)
    longest = int((ends - starts).max())
    keep = keep_probability(counts, subsample)
    tree = huffman_tree(counts) if model.loss == "hierarchical" else None

    def padded(array: np.ndarray) -> jax.Array:
        return jnp.asarray(np.pad(np.asarray(array, np.int32), (0, longest)))

    return WordCorpus(
        padded(tokens),
        padded(sentences),
        padded(documents),
        jnp.asarray(starts),
        jnp.asarray(ends),
        jnp.asarray(keep, jnp.float32),
        alias_table(np.asarray(counts, np.float64) ** NOISE_POWER),
        tree,
    )


def _check_range(name: str, numbers: np.ndarray, size: int) -> None:
    if numbers.min() < 0 or numbers.max() >= size:
        raise ValueError(f"{name}: got {numbers.min()} to {numbers.max()}, expected 0 to {size - 1}")


def _chunks(sentences: np.ndarray, chunk_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts at the last end of a sentence within a chunk's size, or in the middle of a longer sentence."""
    breaks = np.concatenate([[0], np.flatnonzero(np.diff(sentences)) + 1, [len(sentences)]])
    starts, start = [], 0
    while start < len(sentences):
        starts.append(start)
        last = breaks[np.searchsorted(breaks, start + chunk_size, side="right") - 1]
        start = int(last) if last > start else start + chunk_size
    return np.array(starts, np.int32), np.array([*starts[1:], len(sentences)], np.int32)


def keep_probability(counts: np.ndarray, threshold: float | None) -> np.ndarray:
    r"""Probability that an occurrence of a word is kept: frequent words are thinned out.

    .. math:: \min\left(1, \sqrt{t / f} + t / f\right)

    with f the word's share of the text. The paper has :math:`\sqrt{t/f}` (its equation 5); the sum is what
    its authors' program and gensim compute.

    Args:
      counts: ``[V]``.
      threshold: t, such as 1e-3; None keeps all.

    Returns:
      float64 ``[V]``; 1 for a word that never comes.

    Raises:
      ValueError: if the threshold is not positive.

    >>> keep_probability(np.array([900, 99, 1]), 1e-2).round(3)
    array([0.117, 0.419, 1.   ])
    """
    counts = np.asarray(counts, np.float64)
    if threshold is None:
        return np.ones(len(counts))
    if not threshold > 0:
        raise ValueError(f"subsample: got {threshold}, expected a share above 0, or None to keep every word")
    ratio = threshold * counts.sum() / np.maximum(counts, 1)
    return np.where(counts > 0, np.minimum(1.0, np.sqrt(ratio) + ratio), 1.0)


class Words(NamedTuple):
    """Words drawn from a chunk, packed to the front.

    Attributes:
      tokens: int32 ``[R]``.
      sentences: int32 ``[R]``; behind the last word, :data:`NOWHERE`.
      documents: int32 ``[R]``; behind the last word, :data:`NOWHERE`.
      total: int32 [], how many there are.
    """

    tokens: jax.Array
    sentences: jax.Array
    documents: jax.Array
    total: jax.Array


def draw_words(
    key: jax.Array, corpus: WordCorpus, chunk: jax.Array, *, chunk_size: int, shuffle: bool = False
) -> Words:
    """Takes a chunk of the text, drops occurrences of frequent words by chance, and closes the gaps.

    Words that are dropped are gone before windows are laid, which so reach further, as in the authors'
    program.

    Args:
      key: of what is drawn.
      corpus: the text.
      chunk: int32 [], from 0.
      chunk_size: R, the corpus' own.
      shuffle: whether to put the words of each sentence into a random order: for baskets, which have none.
    """
    keep_key, shuffle_key = jax.random.split(key)
    start, end = corpus.starts[chunk], corpus.ends[chunk]
    places = jnp.arange(chunk_size, dtype=jnp.int32)
    tokens, sentences, documents = (
        jax.lax.dynamic_slice(array, (start,), (chunk_size,))
        for array in (corpus.tokens, corpus.sentences, corpus.documents)
    )
    drawn = jax.random.uniform(keep_key, (chunk_size,)) < corpus.keep[tokens]
    kept = drawn & (places < end - start)
    if not shuffle:
        return close_gaps(kept, tokens, sentences, documents)
    total = kept.sum(dtype=jnp.int32)
    sentences, documents = (jnp.where(kept, array, NOWHERE) for array in (sentences, documents))
    order = jnp.lexsort((jax.random.uniform(shuffle_key, (chunk_size,)), sentences))
    return Words(tokens[order], sentences[order], documents[order], total)


def close_gaps(kept: jax.Array, tokens: jax.Array, sentences: jax.Array, documents: jax.Array) -> Words:
    """Moves the words that are kept to the front, in their order.

    Args:
      kept: bool ``[R]``.
      tokens: int32 ``[R]``.
      sentences: int32 ``[R]``.
      documents: int32 ``[R]``.
    """
    places = jnp.arange(len(kept), dtype=jnp.int32)
    count = jnp.cumsum(kept, dtype=jnp.int32)
    # The place of the i-th kept word: where the running count first reaches it.
    order = jnp.minimum(jnp.searchsorted(count, places + 1), len(kept) - 1)
    total = kept.sum(dtype=jnp.int32)
    sentences, documents = (
        jnp.where(places < total, array[order], NOWHERE) for array in (sentences, documents)
    )
    return Words(tokens[order], sentences, documents, total)


def window_pairs(
    sentences: jax.Array, reach: jax.Array, distance: np.ndarray, *, centre: jax.Array
) -> jax.Array:
    """Which words are in the windows of which: float32, 1 or 0.

    Args:
      sentences: int32 ``[..., J]``, of the words around.
      reach: int32 ``[...]``, how far each window reaches.
      distance: ``[..., J]``, from the window's middle to each word; 0 is the word itself, in no window.
      centre: int32 ``[...]``, sentence of the window's middle.

    Returns:
      ``[..., J]``.
    """
    near = (np.abs(distance) <= reach[..., None]) & (distance != 0)
    inside = (sentences == centre[..., None]) & (centre[..., None] != NOWHERE)
    return (near & inside).astype(jnp.float32)
