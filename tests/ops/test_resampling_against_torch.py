"""Pooling, unpooling, patches and resizing, and their gradients, against what PyTorch computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_resampling import REFERENCE, Case, cases, cotangent, inputs, torch_outputs

from jaxvision import ops

CASES = cases()


def call(case: Case, x: jax.Array, *indices: jax.Array) -> tuple[jax.Array, Any]:
    """Output, and the indices of the pooling that has them."""
    options = dict(case.options)
    if case.op == "fold":
        options["output_size"] = case.x[1:-1]
    result = getattr(ops, case.op)(x, *indices, **options)
    return result if isinstance(result, tuple) else (result, ())


def jax_outputs(case: Case, dtype: Any = jnp.float32) -> list[jax.Array]:
    """Output, then the gradient of ``x``, then the indices."""
    x, *rest = inputs(case)

    @jax.jit
    def run(x: jax.Array) -> Any:
        y, pull, indices = jax.vjp(lambda x: call(case, x, *map(jnp.asarray, rest)), x, has_aux=True)
        return y, *pull(jnp.asarray(cotangent(y.shape), dtype)), indices

    return jax.tree.leaves(run(jnp.asarray(x, dtype)))


def assert_equal(ours: list[jax.Array], theirs: list[np.ndarray], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine.shape == yours.shape
        if np.issubdtype(yours.dtype, np.integer):
            assert mine.dtype == jnp.int32
            np.testing.assert_array_equal(mine, yours)
        error = np.abs(np.asarray(mine, np.float32) - yours).max()
        assert error <= tolerance * np.abs(yours).max()


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "resampling.npz") as file:
        return dict(file)


def expected(recorded: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return [recorded[f"{name}/{index}"] for index in range(2 + (CASES[name].op == "max_pool_with_indices"))]


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name, recorded):
    assert_equal(jax_outputs(CASES[name]), expected(recorded, name), 1e-5)


ONE_OF_EACH = list({case.op: name for name, case in CASES.items() if name.count("=") <= 2}.values())


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_bfloat16_is_as_exact_as_its_eight_bits(name, recorded):
    ours = jax_outputs(CASES[name], jnp.bfloat16)
    assert all(array.dtype in (jnp.bfloat16, jnp.int32) for array in ours)
    assert_equal(ours, expected(recorded, name), 0.02)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_an_empty_batch_stays_empty(name):
    case = CASES[name]
    x, *rest = (jnp.asarray(array)[:0] for array in inputs(case))
    y, gradient = jax.eval_shape(
        lambda x: (call(case, x, *rest)[0], jax.grad(lambda x: call(case, x, *rest)[0].sum())(x)), x
    )
    assert y.shape[0] == 0
    assert gradient.shape == x.shape


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(jax_outputs(CASES[name]), torch_outputs(CASES[name]), 1e-5)
