"""Conditional random fields against an enumeration of all paths in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.ops import (
    CRFParams,
    crf_decode,
    crf_log_likelihood,
    crf_log_partition,
    crf_path_score,
    sequence_mask,
)

LENGTHS = [4, 1, 0, 3]
T, K = 4, 3
WHERE = sequence_mask(LENGTHS, T)


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32) * 2


PARAMS = CRFParams(draw(K, K), draw(K), draw(K, seed=1))
SCORES = draw(len(LENGTHS), T, K)
TAGS = np.random.default_rng(2).integers(0, K, (len(LENGTHS), T))


def path_score(scores, path):
    transitions, start, end = (part.astype(np.float64) for part in PARAMS)
    if not len(path):
        return 0.0
    total = start[path[0]] + end[path[-1]] + sum(scores[t, tag] for t, tag in enumerate(path))
    return total + sum(transitions[a, b] for a, b in itertools.pairwise(path))


def every_path(n):
    """Score of each of the ``K ** length`` paths of a sequence."""
    paths = itertools.product(range(K), repeat=LENGTHS[n])
    return {path: path_score(SCORES[n].astype(np.float64), path) for path in paths}


partition, score, decode, likelihood = (
    jax.jit(function) for function in (crf_log_partition, crf_path_score, crf_decode, crf_log_likelihood)
)


def test_the_partition_sums_over_all_paths():
    found = partition(SCORES, PARAMS, where=WHERE)
    wanted = [np.logaddexp.reduce(list(every_path(n).values())) for n in range(len(LENGTHS))]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_score_of_a_path_and_its_probability():
    found = score(SCORES, TAGS, PARAMS, where=WHERE)
    wanted = [path_score(SCORES[n], TAGS[n, :length]) for n, length in enumerate(LENGTHS)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    everything = [np.logaddexp.reduce(list(every_path(n).values())) for n in range(len(LENGTHS))]
    found = likelihood(SCORES, TAGS, PARAMS, where=WHERE)
    np.testing.assert_allclose(found, np.array(wanted) - everything, rtol=1e-4, atol=1e-5)


def test_viterbi_finds_the_best_of_all_paths():
    found = decode(SCORES, PARAMS, where=WHERE)
    for n, length in enumerate(LENGTHS):
        best = max(every_path(n).items(), key=lambda item: item[1])
        assert found.tags[n].tolist() == [*best[0], *[-1] * (T - length)]
        assert float(found.scores[n]) == pytest.approx(best[1], rel=1e-5, abs=1e-5)


def test_the_gradient_of_the_partition_is_the_probability_of_each_tag():
    gradient = jax.jit(jax.grad(lambda s: crf_log_partition(s, PARAMS, where=WHERE).sum()))(SCORES)
    wanted = np.zeros_like(SCORES, dtype=np.float64)
    for n in range(len(LENGTHS)):
        scores = every_path(n)
        total = np.logaddexp.reduce(list(scores.values()))
        for path, value in scores.items():
            for t, tag in enumerate(path):
                wanted[n, t, tag] += np.exp(value - total)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_padding_does_not_matter_even_nan():
    broken = jnp.where(WHERE[..., None], SCORES, jnp.nan)
    tags = np.where(WHERE, TAGS, 99)
    assert np.array_equal(partition(broken, PARAMS, where=WHERE), partition(SCORES, PARAMS, where=WHERE))
    loss = jax.jit(jax.value_and_grad(lambda s: crf_log_likelihood(s, tags, PARAMS, where=WHERE).sum()))
    value, gradient = loss(broken)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert not gradient[~WHERE].any()


def test_empty_batches_and_sequences_of_no_steps():
    for shape in ((0, T, K), (2, 0, K)):
        scores, where = jnp.zeros(shape), jnp.ones(shape[:2], bool)
        assert crf_log_partition(scores, PARAMS, where=where).shape == shape[:1]
        assert crf_decode(scores, PARAMS, where=where).tags.shape == shape[:2]
        assert not crf_log_likelihood(scores, jnp.zeros(shape[:2], int), PARAMS, where=where).any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"transitions: expected \[2, 2\], got \[3, 3\]"):
        crf_log_partition(jnp.zeros((1, 2, 2)), PARAMS, where=jnp.ones((1, 2), bool))
    with pytest.raises(ValueError, match="where: expected bool"):
        crf_decode(jnp.asarray(SCORES), PARAMS, where=jnp.ones((4, 3), bool))
    wrong = np.where(WHERE, 5, 0)
    found = score(SCORES, wrong, PARAMS, where=WHERE)
    assert np.isnan(found).tolist() == [True, True, False, True]
