"""Shares, means, shapes of masks and limits of the dropouts; all draws are from fixed keys."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops

# The op, the shape of what it draws for x [64, 5, 4, 32], and how often each draw is repeated in x.
CALLS = {
    "dropout": (ops.dropout, (64, 5, 4, 32)),
    "channel_dropout": (ops.channel_dropout, (64, 1, 1, 32)),
    "drop_path": (ops.drop_path, (64, 1, 1, 1)),
}
SHAPE = (64, 5, 4, 32)


def within_binomial(count: int, draws: int, probability: float) -> bool:
    """Within four standard deviations: one draw in 16,000 is not, and the keys are fixed."""
    deviation = math.sqrt(draws * probability * (1 - probability))
    return abs(count - draws * probability) <= 4 * deviation


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", CALLS)
def test_share_of_zeros_and_shape_of_the_mask(name, rate):
    op, mask_shape = CALLS[name]
    run = jax.jit(functools.partial(op, rate=rate))
    zeros, draws = 0, 0
    for seed in range(20):
        y = np.asarray(run(jax.random.key(seed), jnp.ones(SHAPE)))
        mask = y[tuple(slice(size) for size in mask_shape)]
        np.testing.assert_array_equal(y, np.broadcast_to(mask, SHAPE))  # the same for all it is drawn for
        exact = 65536 / round(65536 * (1 - rate))  # 1 / (1 - rate) to 7e-5 here
        np.testing.assert_allclose(mask[mask != 0], exact, rtol=1e-6)
        zeros, draws = zeros + (mask == 0).sum(), draws + mask.size
    assert within_binomial(zeros, draws, rate)


def test_two_elements_that_share_a_random_word_are_independent():
    """Also at an odd end of a row, for a number alone, and at rates next to 0 and 1."""
    y = np.asarray(ops.dropout(jax.random.key(0), jnp.ones((20001, 3)), rate=0.5)) != 0
    assert y.shape == (20001, 3) and within_binomial((y[:, 0] & y[:, 1]).sum(), 20001, 0.25)
    assert within_binomial(y[:, 2].sum(), 20001, 0.5)
    drawn = jax.vmap(lambda key: ops.dropout(key, jnp.float32(1), rate=0.5))(
        jax.random.split(jax.random.key(1), 400)
    )
    assert drawn.shape == (400,) and within_binomial((drawn != 0).sum(), 400, 0.5)
    ends = [ops.dropout(jax.random.key(2), jnp.ones(2), rate=rate) for rate in (1e-9, 1 - 1e-9)]
    assert all(bool(jnp.isfinite(end).all()) for end in ends)


@pytest.mark.parametrize("name", CALLS)
def test_mean_is_kept_and_elements_are_independent(name):
    op, _ = CALLS[name]
    keys = jax.random.split(jax.random.key(1), 2000)
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 1.0, (4, 2, 2, 3)), jnp.float32)
    samples = np.asarray(jax.jit(jax.vmap(lambda key: op(key, x, rate=0.3)))(keys))
    deviation = np.abs(x) * math.sqrt(0.3 / 0.7 / 2000)
    assert (np.abs(samples.mean(0) - x) < 5 * deviation).all()
    kept = (samples != 0).reshape(2000, 4, -1)
    assert within_binomial((kept[:, 0, 0] & kept[:, 1, 0]).sum(), 2000, 0.49)  # two samples
    assert not (kept[0] == kept[1]).all()  # two keys


@pytest.mark.parametrize("name", CALLS)
def test_limits_dtype_and_gradient(name):
    op, _ = CALLS[name]
    key, x = jax.random.key(0), jnp.asarray(np.random.default_rng(0).normal(size=(8, 3, 3, 4)), jnp.float32)
    np.testing.assert_array_equal(op(key, x, rate=0.0), x)
    y, pull = jax.vjp(lambda x: op(key, x, rate=1.0), x)
    np.testing.assert_array_equal(y, np.zeros(x.shape))
    np.testing.assert_array_equal(pull(y + 1)[0], np.zeros(x.shape))
    y, pull = jax.vjp(lambda x: op(key, x, rate=0.5), x)
    np.testing.assert_allclose(pull(x)[0], y, rtol=1e-6)  # linear, with a diagonal matrix
    assert op(key, x.astype(jnp.bfloat16), rate=0.5).dtype == jnp.bfloat16
    assert op(key, x[:0], rate=0.5).shape == (0, 3, 3, 4)


@pytest.mark.parametrize("name", CALLS)
def test_one_trace_for_all_keys_and_a_key_a_sample_under_vmap(name):
    op, traces = CALLS[name][0], []

    @jax.jit
    def run(key, x):
        traces.append(x.shape)
        return op(key, x, rate=0.5)

    keys, x = jax.random.split(jax.random.key(0), 3), jnp.ones((3, 2, 4, 4, 5))
    mapped = jax.jit(jax.vmap(lambda key, x: op(key, x, rate=0.5)))(keys, x)
    for index in range(3):
        np.testing.assert_array_equal(mapped[index], run(keys[index], x[index]))
    assert len(traces) == 1


def test_sequences_and_video_too():
    key = jax.random.key(0)
    for shape, mask in (((9, 5, 7), (9, 1, 7)), ((9, 2, 3, 4, 7), (9, 1, 1, 1, 7))):
        y = np.asarray(ops.channel_dropout(key, jnp.ones(shape), rate=0.5))
        first = y[tuple(slice(size) for size in mask)]
        np.testing.assert_array_equal(y, np.broadcast_to(first, shape))
        assert {0.0, 2.0} == set(first.ravel().tolist())
    np.testing.assert_array_equal(ops.drop_path(key, jnp.ones(50), rate=0.5) * 0.5 % 1, np.zeros(50))


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments(name):
    op, key, x = CALLS[name][0], jax.random.key(0), jnp.ones((2, 3, 3, 4))
    for rate in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="rate: expected the probability of zero, from 0 to 1"):
            op(key, x, rate=rate)
    with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
        op(key, x.astype(jnp.int32), rate=0.5)


def test_wrong_ranks():
    with pytest.raises(ValueError, match=r"\[N, ..., C\] with pixels, got \[2, 4\]; without any use dropout"):
        ops.channel_dropout(jax.random.key(0), jnp.ones((2, 4)), rate=0.5)
    with pytest.raises(ValueError, match=r"x: expected \[N, ...\], got \[\]; add a batch axis"):
        ops.drop_path(jax.random.key(0), jnp.float32(1.0), rate=0.5)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(400, 3), (400, 2, 3, 4)])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.75, 1.0])
def test_drop_path_equals_stochastic_depth(rate, shape):
    """The draws are not torchvision's: which samples are kept differs, what is done to them must not."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    leaf = torch.from_numpy(x).requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.ops.stochastic_depth(leaf, rate, "row", training=True)
    (their_gradient,) = torch.autograd.grad(theirs.sum(), leaf)
    ours, pull = jax.vjp(lambda x: ops.drop_path(jax.random.key(0), x, rate=rate), jnp.asarray(x))
    pairs = [(np.asarray(ours), theirs.detach().numpy()), (np.asarray(pull(ours * 0 + 1)[0]), their_gradient)]
    kept = [y.reshape(len(x), -1).any(1) for y in pairs[0]]
    for mine, yours in pairs:
        both, neither = kept[0] & kept[1], ~kept[0] & ~kept[1]
        np.testing.assert_allclose(mine[both], yours[both], rtol=1e-5)  # ours is of 65536 parts
        np.testing.assert_array_equal(mine[neither], yours[neither])
    for mask in kept:
        assert within_binomial(mask.sum(), len(x), 1 - rate)
    assert (kept[0] & kept[1]).any() == (rate < 1)


def test_dropout_of_nonzeros_is_dropout_that_draws_for_them_alone():
    x = np.zeros((200, 50), np.float32)
    x.reshape(-1)[::7] = 2.0
    nonzero = jnp.asarray(np.flatnonzero(x), jnp.int32)
    drop = jax.jit(functools.partial(ops.dropout_nonzero, rate=0.75))
    y = np.asarray(drop(jax.random.key(0), jnp.asarray(x), nonzero))
    assert y.shape == x.shape and not y[x == 0].any()
    assert set(np.unique(y[x != 0])) == {0.0, 8.0}
    assert np.mean(y[x != 0] > 0) == pytest.approx(0.25, abs=0.05)
    np.testing.assert_array_equal(
        ops.dropout_nonzero(jax.random.key(0), jnp.asarray(x), nonzero, rate=0.0), x
    )
    with pytest.raises(ValueError, match="rate: expected the probability of zero"):
        ops.dropout_nonzero(jax.random.key(0), jnp.asarray(x), nonzero, rate=2.0)
