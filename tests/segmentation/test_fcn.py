import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import CASES, check_against, recorded, seeded_state_dict

from jaxvision.backbones import VGG, vgg
from jaxvision.core import flatten_paths, unflatten_paths
from jaxvision.layers import ConvTranspose, bilinear_kernel
from jaxvision.segmentation import FCN, bilinear_upsample, initialise_from_classifier

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
def test_equals_live_torch(name):
    pytest.importorskip("torch")
    from oracles.torch_run import torch_outputs

    check_against(CASES[name], torch_outputs(CASES[name]))


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


def surgery_case():
    """A VGG-11 source of torchvision's names, and FCN variables with marked score layers."""
    model = FCN(vgg("vgg11", features=(2, 2, 3, 3, 4)), 5, hidden=6)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes_of(model))
    shapes, channels, index = {}, 3, 0
    for count, width in zip((1, 1, 2, 2, 2), (2, 2, 3, 3, 4), strict=True):
        for _ in range(count):
            shapes[f"features.{index}"] = (width, channels, 3, 3)
            channels, index = width, index + 2
        index += 1
    shapes |= {"classifier.0": (6, 4 * 49), "classifier.3": (6, 6), "classifier.6": (10, 6)}
    source = {f"{key}.weight": rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    source |= {
        f"{key}.bias": rng.standard_normal(shape[0]).astype(np.float32) for key, shape in shapes.items()
    }
    return variables, source


def test_surgery_turns_fully_connected_layers_into_convolutions():
    variables, source = surgery_case()
    params = initialise_from_classifier(variables, source, variant="vgg11")["params"]
    window = np.random.default_rng(1).standard_normal((4, 7, 7)).astype(np.float32)  # [C, H, W]
    linear = source["classifier.0.weight"] @ window.reshape(-1)
    convolved = np.einsum("chw,hwco->o", window, params["fc6"]["kernel"])
    np.testing.assert_allclose(convolved, linear, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(params["fc7"]["kernel"][0, 0], source["classifier.3.weight"].T)
    np.testing.assert_array_equal(params["backbone"]["stage5_conv2"]["bias"], source["features.18.bias"])
    np.testing.assert_array_equal(params["score_fc7"]["kernel"], 0.5)
    np.testing.assert_array_equal(params["upsample_pool4"]["kernel"], 0.5)
    assert jax.tree.structure(params) == jax.tree.structure(variables["params"])


def test_surgery_refuses_weights_of_another_variant():
    variables, source = surgery_case()
    with pytest.raises(ValueError, match=r"source key 'features\.\d+\.weight'"):
        initialise_from_classifier(variables, source, variant="vgg16")
    with pytest.raises(ValueError, match="unknown VGG variant 'vgg12'"):
        initialise_from_classifier(variables, source, variant="vgg12")
