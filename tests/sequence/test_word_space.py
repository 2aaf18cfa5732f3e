"""Neighbours, analogies and correlations against numpy and scipy, and gensim's answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxvision.data import Vocabulary
from jaxvision.sequence import WordSpace, analogy_scores, cosine_scores, top_words

WORDS = ["king", "queen", "man", "woman", "apple", "zero"]
# Sex, rank, fruit; the last has no direction at all.
VECTORS = np.array([[2, 2, 0.1], [-2, 2, 0.1], [2, -1, 0], [-2, -1, 0], [0, 0.1, 5], [0, 0, 0]], np.float32)


@pytest.fixture
def space():
    return WordSpace(Vocabulary(WORDS), VECTORS)


def _unit(vectors):
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def test_cosines_are_numpys_and_zero_where_there_is_no_direction():
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = jax.jit(cosine_scores)(vectors, vectors[:3])
    np.testing.assert_allclose(found, _unit(vectors)[:3] @ _unit(vectors).T, atol=1e-6)
    assert not np.asarray(cosine_scores(VECTORS, VECTORS[5:])).any()
    assert cosine_scores(VECTORS, np.zeros((0, 3), np.float32)).shape == (0, 6)
    queries = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    grad = jax.grad(lambda x: cosine_scores(jnp.asarray(VECTORS), x).sum())(queries)
    assert bool(jnp.isfinite(grad).all())


@pytest.mark.parametrize("method", ["add", "mul"])
def test_analogies_are_scored_by_the_papers_equations(method):
    vectors = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    questions = np.array([[0, 1, 2], [5, 4, 7]], np.int32)
    found = jax.jit(analogy_scores, static_argnames="method")(vectors, questions, method=method)
    for question, row in zip(questions, found, strict=True):
        a, b, c = (_unit(vectors) @ _unit(vectors)[word] for word in question)
        shifted = [(score + 1) / 2 for score in (a, b, c)]
        expected = b - a + c if method == "add" else shifted[1] * shifted[2] / (shifted[0] + 0.001)
        np.testing.assert_allclose(row, expected, rtol=2e-4, atol=1e-6)


def test_the_words_of_a_question_are_no_answer(space):
    assert [word for word, _ in space.nearest("king", k=5)] == ["man", "apple", "queen", "zero", "woman"]
    assert space.nearest("king", k=1)[0][1] == pytest.approx(space.similarity("king", "man"), abs=1e-6)
    for method in ("add", "mul"):
        assert space.analogy("man", "king", "woman", k=1, method=method)[0][0] == "queen"
    assert space.similarity("king", "zero") == 0
    found = top_words(jnp.array([[3.0, 1.0, 2.0]]), 2, exclude=jnp.array([[0]]))
    assert found.indices.tolist() == [[2, 1]] and found.scores.tolist() == [[2.0, 1.0]]


def test_spearmans_correlation_is_scipys(space):
    pairs = [("king", "man", 9.0), ("King", "queen", 5.0), ("man", "apple", 5.0), ("king", "pope", 1.0)]
    correlation, known = space.rank_correlation(pairs)
    cosines = [space.similarity(a.lower(), b) for a, b, _ in pairs[:3]]
    assert known == 3
    assert correlation == pytest.approx(scipy.stats.spearmanr(cosines, [9, 5, 5]).statistic)
    for few in ([], pairs[:1], [("king", "man", 2.0), ("king", "queen", 2.0)], pairs[3:]):
        correlation, known = space.rank_correlation(few)
        assert np.isnan(correlation) and known == len([pair for pair in few if pair[1] != "pope"])


def test_the_share_of_right_answers_counts_known_questions(space):
    questions = [
        ("man", "king", "woman", "queen"),
        ("Man", "woman", "king", "Queen"),
        ("man", "king", "woman", "apple"),
        ("man", "king", "woman", "pope"),
    ]
    for method in ("add", "mul"):
        share, known = space.analogy_accuracy(questions, method=method)
        assert known == 3 and share == pytest.approx(2 / 3)
    share, known = space.analogy_accuracy(questions[3:])
    assert np.isnan(share) and known == 0


def test_questions_of_one_kind_compile_once(space):
    for word in WORDS[:4]:
        space.nearest(word, k=2)
    assert space._nearest._cache_size() == 1


def test_what_cannot_be_asked_is_refused(space):
    with pytest.raises(ValueError, match="quen"):
        space.nearest("quen")
    with pytest.raises(ValueError, match="k: got 6, expected 1 to 5"):
        space.nearest("king", k=6)
    with pytest.raises(ValueError, match="k: got 4, expected 1 to 3"):
        space.analogy("man", "king", "woman", k=4)
    with pytest.raises(ValueError, match="method: expected 'add' or 'mul', got 'sub'"):
        space.analogy("man", "king", "woman", k=1, method="sub")
    with pytest.raises(ValueError, match=r"vectors: expected \[6, D\], got \[5, 3\]; one vector a word"):
        WordSpace(Vocabulary(WORDS), VECTORS[:5])
    with pytest.raises(ValueError, match="queries"):
        cosine_scores(VECTORS, np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="questions"):
        analogy_scores(VECTORS, np.zeros((1, 2), np.int32))


@pytest.mark.parity
def test_gensim_gives_the_same_answers():
    from gensim.models import KeyedVectors

    words = [f"w{index}" for index in range(50)]
    vectors = np.random.default_rng(2).normal(size=(50, 8)).astype(np.float32)
    space = WordSpace(Vocabulary(words), vectors)
    theirs = KeyedVectors(8)
    theirs.add_vectors(words, vectors)
    for word in words[:5]:
        mine, other = space.nearest(word, k=6), theirs.most_similar(word, topn=6)
        assert [name for name, _ in mine] == [name for name, _ in other]
        np.testing.assert_allclose([s for _, s in mine], [s for _, s in other], rtol=1e-5)
    for a, b, c in (words[:3], words[7:10], words[20:23]):
        for method, ask in (("add", theirs.most_similar), ("mul", theirs.most_similar_cosmul)):
            mine = space.analogy(a, b, c, k=4, method=method)
            other = ask(positive=[b, c], negative=[a], topn=4)
            # gensim's 3CosAdd takes the cosine with the mean of the three: another number, the same order.
            assert [name for name, _ in mine] == [name for name, _ in other]
            if method == "mul":
                np.testing.assert_allclose([s for _, s in mine], [s for _, s in other], rtol=1e-4)
