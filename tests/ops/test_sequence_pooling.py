"""Pooling of padded sequences against numpy on what is not padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import AttentionPooling
from jaxvision.ops import sequence_mask, sequence_max, sequence_mean, sequence_weights

LENGTHS = [3, 0, 1, 4]
X = np.random.default_rng(0).normal(size=(4, 4, 2)).astype(np.float32)
WHERE = sequence_mask(LENGTHS, 4)
BROKEN = jnp.where(WHERE[..., None], X, jnp.nan)


@pytest.mark.parametrize(("pool", "oracle"), [(sequence_mean, np.mean), (sequence_max, np.max)])
def test_pooling_is_that_of_the_steps_alone(pool, oracle):
    wanted = [oracle(X[n, :length], axis=0) if length else np.zeros(2) for n, length in enumerate(LENGTHS)]
    np.testing.assert_allclose(jax.jit(pool)(BROKEN, where=WHERE), wanted, rtol=1e-6, atol=1e-7)
    gradient = jax.jit(jax.grad(lambda x: (pool(x, where=WHERE) ** 2).sum()))(BROKEN)
    assert np.isfinite(gradient).all() and not gradient[~WHERE].any()


def test_weights_are_a_softmax_of_the_steps():
    scores = X[..., 0]
    found = sequence_weights(jnp.asarray(scores), where=WHERE)
    for n, length in enumerate(LENGTHS):
        powers = np.exp(scores[n, :length])
        np.testing.assert_allclose(found[n, :length], powers / powers.sum() if length else [], rtol=1e-5)
        assert not found[n, length:].any()
    gradient = jax.grad(lambda s: (sequence_weights(s, where=WHERE) ** 2).sum())(jnp.asarray(scores))
    assert np.isfinite(gradient).all()


def test_attention_of_an_empty_sequence_is_zero_and_padding_does_not_matter():
    layer = AttentionPooling(3)
    variables = layer.init(jax.random.key(0), jnp.asarray(X), where=WHERE)
    found = layer.apply(variables, jnp.asarray(X), where=WHERE)
    assert found.shape == (4, 2) and not found[1].any()
    np.testing.assert_array_equal(found, layer.apply(variables, BROKEN, where=WHERE))


def test_empty_batches_and_wrong_masks():
    for shape in ((0, 4, 2), (2, 0, 2)):
        where = jnp.ones(shape[:2], bool)
        for pool in (sequence_mean, sequence_max):
            assert pool(jnp.zeros(shape), where=where).shape == (shape[0], 2)
        assert sequence_weights(jnp.zeros(shape[:2]), where=where).shape == shape[:2]
    with pytest.raises(ValueError, match="where: expected bool"):
        sequence_mean(jnp.asarray(X), where=WHERE.astype(int))
    with pytest.raises(ValueError, match=r"x: expected \[N, T, C\]"):
        sequence_max(jnp.asarray(X)[0], where=WHERE)
