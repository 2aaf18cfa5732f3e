"""Batch normalisation against PyTorch; local and synced statistics; modes, dtypes and errors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from reference.record_ops import REFERENCE, norm_inputs, torch_norm_outputs

from jaxvision.layers import BatchNorm


def variables_of(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "params": {"scale": data["scale"], "bias": data["bias"]},
        "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
    }


def jax_norm_outputs() -> dict[str, jax.Array]:
    """The same two training steps and evaluation as ``torch_norm_outputs``."""
    data = {name: jnp.asarray(array) for name, array in norm_inputs().items()}
    norm, variables, outputs = BatchNorm(), variables_of(data), {}

    @functools.partial(jax.jit, static_argnames="train")
    def run(variables, images, train):
        def forward(params, images):
            return norm.apply(
                {**variables, "params": params},
                images,
                train=train,
                mutable=["batch_stats"] if train else False,
            )

        y, pull, state = jax.vjp(
            lambda *a: forward(*a) if train else (forward(*a), {}), variables["params"], images, has_aux=True
        )
        return y, *pull(data["cotangent"]), {**variables, **state}

    for step, images in enumerate((*data["images"], data["images"][0])):
        y, params, gradient, variables = run(variables, images, train=step < 2)
        values = {"y": y, "x": gradient, **params, **variables["batch_stats"]}
        outputs |= {f"{step} {name}": value for name, value in values.items()}
    return outputs


def assert_equal(ours: dict[str, jax.Array], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


def test_equals_recorded_torch():
    with np.load(REFERENCE / "ops.npz") as file:
        theirs = {
            name.removeprefix("batch_norm/"): file[name] for name in file if name.startswith("batch_norm/")
        }
    assert len(theirs) == 18
    assert_equal(jax_norm_outputs(), theirs)


@pytest.mark.parity
def test_equals_torch():
    pytest.importorskip("torch")
    assert_equal(jax_norm_outputs(), torch_norm_outputs())


def test_synced_over_an_axis_equals_the_whole_batch_and_local_does_not():
    data = {name: jnp.asarray(array) for name, array in norm_inputs().items()}
    variables, images = variables_of(data), data["images"][0]  # [4, 3, 5, 6]
    weights = data["cotangent"]

    def run(axis_name, variables, images, weights):
        norm = BatchNorm(axis_name=axis_name)

        def loss(images):
            y, state = norm.apply(variables, images, train=True, mutable=["batch_stats"])
            return (y * weights).sum(), (y, state["batch_stats"])

        gradient, (y, stats) = jax.grad(loss, has_aux=True)(images)
        return gradient, y, stats

    def over_four(axis_name):
        mapped = jax.vmap(functools.partial(run, axis_name), (None, 0, 0), axis_name="data")
        return jax.jit(mapped)(variables, images[:, None], weights[:, None])

    whole_gradient, whole_y, whole_stats = jax.jit(functools.partial(run, None))(variables, images, weights)
    gradient, y, stats = over_four("data")
    np.testing.assert_allclose(y[:, 0], whole_y, atol=1e-5)
    np.testing.assert_allclose(gradient[:, 0], whole_gradient, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats[name], np.tile(whole_stats[name], (4, 1)), rtol=1e-5)
    _, y, stats = over_four(None)
    alone = jax.jit(functools.partial(run, None))(variables, images[:1], weights[:1])
    np.testing.assert_allclose(y[0], alone[1], atol=1e-5)
    assert float(jnp.abs(stats["mean"][0] - stats["mean"][1]).max()) > 0.01


@pytest.mark.parametrize("train", [True, False])
def test_derivatives_of_both_modes_and_two_orders(train):
    data = {name: jnp.asarray(array) for name, array in norm_inputs().items()}
    variables = variables_of(data)

    @jax.jit
    def run(images, scale):
        changed = {**variables, "params": {"scale": scale, "bias": data["bias"]}}
        y = BatchNorm().apply(changed, images, train=train, mutable=["batch_stats"])[0]
        return y * data["cotangent"]

    arguments = (data["images"][0], data["scale"])
    check_grads(run, arguments, order=2, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2)


def test_gradient_is_exact_far_from_zero_and_second_order():
    # The variance is written around a point that is constant for differentiation: compare with the formula.
    x = jnp.asarray(np.random.default_rng(0).normal(100.0, 1.0, (6, 1)), jnp.float32)
    variables = jax.jit(functools.partial(BatchNorm().init, train=True))(jax.random.key(0), x)

    def ours(x):
        return (BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0] ** 3).sum()

    def plain(x):
        centred = x - x.mean()
        return ((centred / jnp.sqrt((centred * centred).mean() + 1e-5)) ** 3).sum()

    for order in (jax.grad, jax.hessian):
        expected = jax.jit(order(plain))(x)
        np.testing.assert_allclose(
            jax.jit(order(ours))(x), expected, atol=2e-3 * float(jnp.abs(expected).max())
        )


def test_init_leaves_the_statistics_and_eval_does_not_change_them():
    x = jnp.full((2, 3, 3, 4), 5.0)
    variables = jax.jit(functools.partial(BatchNorm().init, train=True))(jax.random.key(0), x)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(4))
    y, state = BatchNorm().apply(variables, x, train=False, mutable=["batch_stats"])
    np.testing.assert_array_equal(state["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_bfloat16_keeps_its_statistics_in_float32():
    images = jnp.asarray(norm_inputs()["images"][0])
    variables = jax.jit(functools.partial(BatchNorm().init, train=False))(jax.random.key(0), images)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))

    def run(images, **options):
        return BatchNorm(**options).apply(variables, images, train=True, mutable=["batch_stats"])

    y, state = run(images.astype(jnp.bfloat16))
    exact, exact_state = run(images)
    assert y.dtype == jnp.bfloat16
    assert run(images, dtype=jnp.bfloat16)[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.03)
    for name in ("mean", "var"):
        assert state["batch_stats"][name].dtype == jnp.float32
        np.testing.assert_allclose(state["batch_stats"][name], exact_state["batch_stats"][name], rtol=0.01)


def test_errors():
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
    }
    with pytest.raises(
        ValueError, match=r"at least two elements a channel.*\[1, 1, 1, 3\]; use a larger batch"
    ):
        BatchNorm().apply(variables, jnp.ones((1, 1, 1, 3)), train=True, mutable=["batch_stats"])
    with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
        BatchNorm().apply(variables, jnp.ones((1, 1, 1, 3), jnp.int32), train=False)
