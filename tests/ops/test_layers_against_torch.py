"""Activations, normalisations and embeddings, and their gradients, against what PyTorch computes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_layers import (
    IDS,
    REFERENCE,
    Case,
    activation_cases,
    cases,
    cotangent,
    inputs,
    norm_cases,
    torch_outputs,
)

from jaxvision import ops

CASES = cases()
NORMS = tuple(name for name in norm_cases() if "2x3x5x6" in name or "3x3x4x5" in name)


def call(case: Case, *arrays: jax.Array) -> jax.Array:
    options, arguments = dict(case.options), list(arrays)
    if case.op == "instance_norm":
        return ops.group_norm(
            *arguments, *[None] * (3 - len(arrays)), num_groups=arrays[0].shape[-1], **options
        )
    if case.op in ("layer_norm", "group_norm"):
        arguments += [None] * (3 - len(arrays))
    elif case.op == "rms_norm":
        arguments += [None] * (2 - len(arrays))
    elif case.op == "scaled_weight_standardize":
        options["gain"] = arguments.pop() if len(arrays) == 2 else None
    elif case.op == "maxout":
        arguments.append(options.pop("pieces"))
    elif case.op == "embedding_lookup":
        arguments.append(jnp.asarray(IDS))
    return getattr(ops, case.op)(*arguments, **options)


@functools.cache
def jax_outputs(names: tuple[str, ...], dtype: Any = jnp.float32) -> dict[str, list[jax.Array]]:
    """Of each case the output, then the gradient of each input; one program, which compiles fastest."""

    @jax.jit
    def run(arrays: dict[str, list[jax.Array]]) -> dict[str, list[jax.Array]]:
        outputs = {}
        for name in names:
            case = CASES[name]
            y, pull = jax.vjp(functools.partial(call, case), *arrays[name])
            outputs[name] = [y, *pull(jnp.asarray(cotangent(y.shape), dtype))]
        return outputs

    return run({name: [jnp.asarray(x, dtype) for x in inputs(CASES[name])] for name in names})


def assert_equal(name: str, ours: list[jax.Array], theirs: list[np.ndarray]) -> None:
    """Activations element by element, for they range from 1e-20 to 1e4; sums relative to their largest."""
    assert len(ours) == len(theirs)
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine.shape == yours.shape
        if name in activation_cases():
            np.testing.assert_allclose(mine, yours, rtol=1e-5, atol=1e-6)
        else:
            assert np.abs(np.asarray(mine) - yours).max() <= 1e-5 * max(np.abs(yours).max(), 1e-3)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "layers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name, recorded):
    expected = [recorded[f"{name}/{index}"] for index in range(1 + len(CASES[name].shapes))]
    assert_equal(name, jax_outputs(tuple(CASES))[name], expected)


@pytest.mark.parametrize("name", NORMS)
def test_bfloat16_is_as_exact_as_its_eight_bits(name, recorded):
    for index, mine in enumerate(jax_outputs(NORMS, jnp.bfloat16)[name]):
        yours = recorded[f"{name}/{index}"]
        assert mine.dtype == jnp.bfloat16
        assert np.abs(np.asarray(mine, np.float32) - yours).max() <= 0.02 * np.abs(yours).max()


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(name, jax_outputs(tuple(CASES))[name], torch_outputs(CASES[name]))
