"""Rows against ``jax.grad`` of the loss, and the loss against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.sequence import hidden_negative, hierarchical, skipgram_negative

RNG = np.random.default_rng(0)


def _normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def _bits(*shape):
    return jnp.asarray(RNG.integers(0, 2, shape), jnp.float32)


CASES = {
    "skipgram_negative": (
        skipgram_negative,
        (_normal(2, 3, 4), _normal(2, 5, 4), _normal(2, 6, 4)),
        {"pairs": _bits(2, 3, 5), "negatives": 0.3 * _bits(2, 5, 6)},
    ),
    "hidden_negative": (
        hidden_negative,
        (_normal(2, 7, 4), _normal(2, 7, 4), _normal(2, 6, 4)),
        {"where": _bits(2, 7), "negatives": 0.3 * _bits(2, 7, 6)},
    ),
    "hierarchical": (
        hierarchical,
        (_normal(2, 5, 4), _normal(2, 3, 6, 4)),
        {"signs": jnp.asarray(RNG.integers(-1, 2, (2, 3, 6)), jnp.float32), "pairs": _bits(2, 3, 5)},
    ),
}


def _call(name, rows):
    function, _, options = CASES[name]
    if name == "hierarchical":
        return function(*rows, options["signs"], pairs=options["pairs"])
    return function(*rows, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_rows_are_the_negative_gradient_of_the_loss(name, scale):
    rows = tuple(scale * row for row in CASES[name][1])
    found = jax.jit(lambda rows: _call(name, rows))(rows)
    gradients = jax.grad(lambda rows: _call(name, rows).loss)(rows)
    for mine, gradient in zip(found[1:], gradients, strict=False):
        np.testing.assert_allclose(mine.steps, -gradient, rtol=2e-5, atol=2e-5 * max(scale, 1))
    assert (found.noise is None) == (name == "hierarchical")


@pytest.mark.parametrize("name", CASES)
def test_curvatures_bound_the_traces_of_the_second_derivative(name):
    # The approximation of the logarithm, derived twice, is good to 1e-4.
    rows = CASES[name][1]
    found = _call(name, rows)[1:]
    hessians = jax.jit(jax.hessian(lambda rows: _call(name, rows).loss))(rows)
    for place, (mine, row) in enumerate(zip(found, rows, strict=False)):
        own = jnp.einsum("ii->i", hessians[place][place].reshape(row.size, row.size))
        assert np.all(mine.curvatures >= (1 - 1e-3) * own.reshape(row.shape).sum(axis=-1) - 1e-4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_step_as_long_as_the_curvature_allows_goes_downhill(name, scale):
    """Far on the wrong side too, where the second derivative itself is next to nothing."""
    rows = tuple(scale * row for row in CASES[name][1])
    call = jax.jit(lambda rows: _call(name, rows))
    found = call(rows)
    for place, mine in enumerate(rows_ for rows_ in found[1:] if rows_ is not None):
        step = mine.steps / np.maximum(mine.curvatures, 1e-6)[..., None]
        moved = (*rows[:place], rows[place] + step, *rows[place + 1 :])
        assert float(call(moved).loss) <= float(found.loss) * (1 + 1e-5)


def test_losses_are_those_of_the_formulas():
    inputs, targets, noise = (np.asarray(x, np.float64) for x in CASES["skipgram_negative"][1])
    options = {name: np.asarray(x) for name, x in CASES["skipgram_negative"][2].items()}
    expected = 0.0
    for g, i, j in np.argwhere(options["pairs"]):
        expected += np.log1p(np.exp(-inputs[g, i] @ targets[g, j]))
        expected += options["negatives"][g, j] @ np.log1p(np.exp(noise[g] @ inputs[g, i]))
    assert float(_call("skipgram_negative", CASES["skipgram_negative"][1]).loss) == pytest.approx(
        expected, 1e-5
    )


def test_scores_beyond_the_range_of_exp_stay_finite():
    rows = tuple(1e4 * row for row in CASES["hidden_negative"][1])
    found = _call("hidden_negative", rows)
    assert all(bool(jnp.isfinite(part).all()) for part in jax.tree.leaves(found)) and float(found.loss) > 1e6


def test_an_empty_batch_has_no_loss():
    found = hidden_negative(
        jnp.zeros((1, 0, 4)),
        jnp.zeros((1, 0, 4)),
        _normal(1, 2, 4),
        where=jnp.zeros((1, 0)),
        negatives=jnp.zeros((1, 0, 2)),
    )
    assert float(found.loss) == 0 and not found.noise.steps.any() and found.inputs.steps.shape == (1, 0, 4)
    found = skipgram_negative(
        jnp.zeros((0, 3, 4)),
        jnp.zeros((0, 5, 4)),
        jnp.zeros((0, 2, 4)),
        pairs=jnp.zeros((0, 3, 5)),
        negatives=jnp.zeros((0, 5, 2)),
    )
    assert float(found.loss) == 0 and found.noise.steps.shape == (0, 2, 4)


def test_rows_map_over_a_batch_of_batches():
    rows = CASES["hidden_negative"][1]
    twice = tuple(jnp.stack([row, 2 * row]) for row in rows)
    mapped = jax.vmap(lambda *rows: _call("hidden_negative", rows))(*twice)
    np.testing.assert_allclose(
        mapped.inputs.steps[1], _call("hidden_negative", [2 * r for r in rows]).inputs.steps, rtol=1e-5
    )
