"""What vectors of words tell: neighbours, analogies, and how well similarities agree with people's."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import check_floating, check_integer, check_layout
from jaxvision.data import Vocabulary

__all__ = ["Nearest", "WordSpace", "analogy_scores", "cosine_scores", "top_words"]

_METHODS = ("add", "mul")
_EPSILON = 1e-3  # of 3CosMul: Levy and Goldberg 2014, equation 4
_AT_ONCE = 256  # questions whose scores are in memory together


class Nearest(NamedTuple):
    """The best words of each query, the best first.

    Attributes:
      indices: int32 ``[N, k]``.
      scores: float32 ``[N, k]``.
    """

    indices: jax.Array
    scores: jax.Array


def cosine_scores(vectors: jax.Array, queries: jax.Array) -> jax.Array:
    """Cosine of each query with each vector; 0 where one of both is zero.

    Args:
      vectors: ``[V, D]``.
      queries: ``[N, D]``.

    Returns:
      ``[N, V]``.

    Raises:
      ValueError: if the shapes do not fit or the dtypes are not floating.

    >>> cosine_scores(jnp.eye(2), jnp.array([[3.0, 4.0]]))
    Array([[0.6, 0.8]], dtype=float32)
    """
    check_layout("vectors", vectors, "V D")
    check_layout("queries", queries, f"N {vectors.shape[1]}")
    check_floating(vectors=vectors, queries=queries)
    return _unit(queries) @ _unit(vectors).T


def analogy_scores(vectors: jax.Array, questions: jax.Array, *, method: str = "add") -> jax.Array:
    r"""Scores of every word as the answer to "a is to b as c is to ...".

    With the cosine s of unit vectors, 3CosAdd and 3CosMul:

    .. math::
        s(d, b) - s(d, a) + s(d, c) \qquad\text{or}\qquad
        \frac{s'(d, b) \, s'(d, c)}{s'(d, a) + 0.001}, \quad s' = (s + 1) / 2

    Args:
      vectors: ``[V, D]``.
      questions: int32 ``[N, 3]``, the indices of a, b and c.
      method: ``"add"`` or ``"mul"``.

    Returns:
      ``[N, V]``, the words of the question among them: see :func:`top_words`.

    Raises:
      ValueError: for another method, or if the shapes or dtypes do not fit.

    References:
      Mikolov, Yih and Zweig 2013, *Linguistic Regularities in Continuous Space Word Representations*; Levy
      and Goldberg 2014, *Linguistic Regularities in Sparse and Explicit Word Representations*, equations 3
      and 4.
    """
    if method not in _METHODS:
        raise ValueError(f"method: expected 'add' or 'mul', got {method!r}")
    check_layout("questions", questions, "N 3")
    check_integer(questions=questions)
    a, b, c = (cosine_scores(vectors, vectors[questions[:, place]]) for place in range(3))  # [N, V]
    if method == "add":
        return b - a + c
    a, b, c = ((score + 1.0) / 2.0 for score in (a, b, c))
    return b * c / (a + _EPSILON)


def top_words(scores: jax.Array, k: int, *, exclude: jax.Array | None = None) -> Nearest:
    """The k best of each row of scores.

    Args:
      scores: ``[N, V]``.
      k: from 1 to V, less what is excluded.
      exclude: int32 ``[N, E]``, words that no answer may be: those of the query.

    Raises:
      ValueError: if there are not k words left.
    """
    check_layout("scores", scores, "N V")
    left = scores.shape[1] - (0 if exclude is None else exclude.shape[1])
    if not 1 <= k <= left:
        raise ValueError(f"k: got {k}, expected 1 to {left}, for there are no more words")
    if exclude is not None:
        rows = jnp.arange(scores.shape[0])[:, None]
        scores = scores.at[rows, exclude].set(-jnp.inf)
    best, indices = jax.lax.top_k(scores, k)
    return Nearest(indices, best)


class WordSpace:
    """Words with their vectors, asked by name; each kind of question is compiled once.

    Args:
      vocabulary: V words.
      vectors: float32 ``[V, D]``.

    Raises:
      ValueError: if there is not one vector a word.
    """

    def __init__(self, vocabulary: Vocabulary, vectors: np.ndarray) -> None:
        check_layout("vectors", jnp.asarray(vectors), f"{len(vocabulary)} D", remedy="one vector a word")
        self.vocabulary = vocabulary
        self.vectors = jnp.asarray(vectors, jnp.float32)
        self._nearest = jax.jit(
            lambda vectors, words, k: top_words(
                cosine_scores(vectors, vectors[words]), k, exclude=words[:, None]
            ),
            static_argnums=2,
        )
        self._answer = jax.jit(
            lambda vectors, questions, k, method: top_words(
                analogy_scores(vectors, questions, method=method), k, exclude=questions
            ),
            static_argnums=(2, 3),
        )

    def nearest(self, word: str, *, k: int = 10) -> list[tuple[str, float]]:
        """The words whose vectors have the greatest cosine with that of a word, and these cosines.

        Raises:
          ValueError: for a word that is not in the vocabulary, or more words than there are.
        """
        query = jnp.array([self.vocabulary.index(word)])
        return self._named(self._nearest(self.vectors, query, k))

    def analogy(self, a: str, b: str, c: str, *, k: int = 10, method: str = "add") -> list[tuple[str, float]]:
        """The best answers to "a is to b as c is to ...", and their scores by :func:`analogy_scores`.

        Raises:
          ValueError: as :meth:`nearest`, or for an unknown method.
        """
        question = jnp.array([[self.vocabulary.index(word) for word in (a, b, c)]])
        return self._named(self._answer(self.vectors, question, k, method))

    def similarity(self, first: str, second: str) -> float:
        """Cosine of two words.

        Raises:
          ValueError: for a word that is not in the vocabulary.
        """
        one, two = (np.asarray(self.vectors[self.vocabulary.index(word)]) for word in (first, second))
        return float(one @ two / max(np.linalg.norm(one) * np.linalg.norm(two), 1e-12))

    def rank_correlation(self, pairs: Sequence[tuple[str, str, float]]) -> tuple[float, int]:
        """Spearman's correlation of the cosines with people's scores.

        Args:
          pairs: two words and a score each, as of :func:`jaxvision.data.read_word_pairs`.

        Returns:
          The correlation, nan without 2 different scores; and how many pairs are known: those with a word
          that is not in the vocabulary, in small letters either, do not count.

        References:
          Finkelstein et al. 2002, *Placing Search in Context*, for WordSim-353.
        """
        from scipy.stats import spearmanr

        known = [
            (self._known(first), self._known(second), score)
            for first, second, score in pairs
            if self._known(first) is not None and self._known(second) is not None
        ]
        if len({score for *_, score in known}) < 2:
            return float("nan"), len(known)
        places = jnp.array([(first, second) for first, second, _ in known])  # [N, 2]
        unit = _unit(self.vectors)
        cosines = np.asarray((unit[places[:, 0]] * unit[places[:, 1]]).sum(axis=-1))
        return float(spearmanr(cosines, [score for *_, score in known]).statistic), len(known)

    def analogy_accuracy(
        self, questions: Sequence[tuple[str, str, str, str]], *, method: str = "add"
    ) -> tuple[float, int]:
        """The share of questions whose best answer is the right one.

        Args:
          questions: a, b, c and the answer, as of :func:`jaxvision.data.read_analogies`.
          method: see :func:`analogy_scores`.

        Returns:
          The share, nan of none; and how many questions are known, as in :meth:`rank_correlation`.
        """
        found = [tuple(self._known(word) for word in question) for question in questions]
        known = np.array([row for row in found if None not in row], np.int32).reshape(-1, 4)
        right = 0
        for start in range(0, len(known), _AT_ONCE):
            part = known[start : start + _AT_ONCE]
            asked = np.zeros((_AT_ONCE, 3), np.int32)  # of one size, so that it compiles once
            asked[: len(part)] = part[:, :3]
            best = np.asarray(self._answer(self.vectors, jnp.asarray(asked), 1, method).indices)
            right += int((best[: len(part), 0] == part[:, 3]).sum())
        return (right / len(known) if len(known) else float("nan")), len(known)

    def _known(self, word: str) -> int | None:
        for form in (word, word.lower()):
            if form in self.vocabulary:
                return self.vocabulary.index(form)
        return None

    def _named(self, found: Nearest) -> list[tuple[str, float]]:
        words = self.vocabulary.decode(np.asarray(found.indices)[0])
        return list(zip(words, np.asarray(found.scores)[0].tolist(), strict=True))


def _unit(vectors: jax.Array) -> jax.Array:
    squares = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
