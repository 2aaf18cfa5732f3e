import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import CASES, check_against, check_recording, recorded, seeded_state_dict

from jaxvision.backbones import VGG
from jaxvision.core import flatten_paths, unflatten_paths
from jaxvision.layers import ConvTranspose, bilinear_kernel
from jaxvision.segmentation import FCN, bilinear_upsample

FCN_CASES = [name for name, case in CASES.items() if case.family == "fcn"]


def narrow(**fields):
    fields = {"stride": 8, "hidden": 6, **fields}
    return FCN(VGG((1, 1, 1, 1, 1), (2, 2, 3, 3, 4)), 5, **fields)


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


@pytest.mark.parametrize("name", FCN_CASES)
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", FCN_CASES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_run import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 96), (75, 100)])
def test_logits_have_the_size_of_the_image(stride, size):
    model = narrow(stride=stride)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits = jax.eval_shape(functools.partial(model.apply, train=False), shapes_of(model), images)
    assert logits.shape == (2, *size, 5)
    assert logits.dtype == jnp.float32


def test_starts_with_zero_scores_and_bilinear_upsampling():
    model = narrow()
    images = jax.random.normal(jax.random.key(1), (1, 40, 40, 3))
    logits, variables = jax.jit(functools.partial(model.init_with_output, train=False))(
        jax.random.key(0), images
    )
    np.testing.assert_array_equal(logits, 0.0)
    kernel = variables["params"]["upsample_fc7"]["kernel"]
    assert kernel.shape == (4, 4, 5, 5)
    taps = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(kernel[:, :, 2, 2], np.outer(taps, taps))
    np.testing.assert_array_equal(kernel[:, :, 2, 3], 0.0)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_fixed_upsampling_is_the_bilinear_transposed_convolution(factor):
    layer = ConvTranspose(
        3, 2 * factor, strides=factor, padding=factor // 2, use_bias=False, kernel_init=bilinear_kernel
    )
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 3))
    expected, _ = jax.jit(layer.init_with_output)(jax.random.key(1), x)
    actual = bilinear_upsample(x, factor)
    assert actual.shape == (2, 3 * factor, 4 * factor, 3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_learned_final_upsampling_starts_as_the_fixed_one():
    fixed, learned = narrow(), narrow(learn_final_upsampling=True)
    images = jax.random.normal(jax.random.key(1), (1, 35, 64, 3))
    variables = jax.jit(functools.partial(learned.init, train=False))(jax.random.key(0), images)
    kernel = variables["params"]["score_fc7"]["kernel"]
    variables["params"]["score_fc7"]["kernel"] = jax.random.normal(jax.random.key(2), kernel.shape)
    expected = jax.jit(functools.partial(learned.apply, train=False))(variables, images)
    del variables["params"]["upsample_final"]
    actual = jax.jit(functools.partial(fixed.apply, train=False))(variables, images)
    assert np.abs(actual).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_pool_scales_multiply_the_skip_connections():
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    model = narrow(pool4_scale=0.01, pool3_scale=0.0001)
    source = seeded_state_dict(
        {path: leaf.shape for path, leaf in flatten_paths(shapes_of(model)["params"]).items()}
    )
    scaled = jax.jit(functools.partial(model.apply, train=False))({"params": unflatten_paths(source)}, images)
    source["score_pool4/kernel"] = source["score_pool4/kernel"] * 0.01
    source["score_pool3/kernel"] = source["score_pool3/kernel"] * 0.0001
    plain = jax.jit(functools.partial(narrow().apply, train=False))(
        {"params": unflatten_paths(source)}, images
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only_and_bfloat16_keeps_float32_logits():
    model = narrow(dtype=jnp.bfloat16)
    images = jnp.ones((1, 32, 32, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    variables["params"]["score_fc7"]["kernel"] += 1.0
    apply = jax.jit(lambda variables, key: model.apply(variables, images, train=True, rngs={"dropout": key}))
    one, two = apply(variables, jax.random.key(1)), apply(variables, jax.random.key(2))
    assert one.dtype == jnp.float32
    assert np.abs(one - two).max() > 0
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_second_call_does_not_retrace():
    model, traces = narrow(), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes_of(model))
    apply(variables, images)
    apply(variables, images + 1)
    assert traces == [(1, 32, 32, 3)]


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({"stride": 4}, jnp.zeros((1, 32, 32, 3)), r"stride: expected one of \(32, 16, 8\), got 4"),
        ({}, jnp.zeros((32, 32, 3)), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        ({}, jnp.zeros((1, 32, 32, 3), jnp.int32), "images: expected a floating dtype, got int32"),
        ({}, jnp.zeros((1, 0, 32, 3)), "at least one pixel"),
    ],
)
def test_wrong_input_raises(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)
