"""Convolutions and pooling, and their gradients, against what PyTorch computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_ops import REFERENCE, Case, cases, cotangent, inputs, torch_outputs

from jaxvision import ops

CASES = cases()


def call(case: Case, *arrays: jax.Array) -> jax.Array:
    options = dict(case.options)
    positional: list[Any] = [options.pop(name) for name in ("window", "output_size") if name in options]
    return getattr(ops, case.op)(*arrays, *positional, **options)


def jax_outputs(case: Case, dtype: Any = jnp.float32) -> list[jax.Array]:
    """Output, then the gradient of each input."""
    arrays = [jnp.asarray(array, dtype) for array in inputs(case)]

    @jax.jit
    def run(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(lambda *arguments: call(case, *arguments), *arrays)
        return (y, *pull(jnp.asarray(cotangent(y.shape), dtype)))

    return list(run(*arrays))


def assert_equal(ours: list[jax.Array], theirs: list[np.ndarray], tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine.shape == yours.shape
        error = np.abs(np.asarray(mine, np.float32) - yours).max()
        assert error <= tolerance * np.abs(yours).max()


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "ops.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name, recorded):
    expected = [recorded[f"{name}/{index}"] for index in range(1 + len(inputs(CASES[name])))]
    assert_equal(jax_outputs(CASES[name]), expected, 1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "2x7x6x4" in name and "padding=1" in name])
def test_bfloat16_is_as_exact_as_its_eight_bits(name, recorded):
    ours = jax_outputs(CASES[name], jnp.bfloat16)
    assert all(array.dtype == jnp.bfloat16 for array in ours)
    assert_equal(ours, [recorded[f"{name}/{index}"] for index in range(len(ours))], 0.02)


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(jax_outputs(CASES[name]), torch_outputs(CASES[name]), 1e-5)
