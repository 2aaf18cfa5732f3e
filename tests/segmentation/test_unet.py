import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import CASES, check_against, check_recording, recorded

from jaxvision.core import count_parameters
from jaxvision.segmentation import UNet, unet_valid_size

UNET_CASES = [name for name, case in CASES.items() if case.family == "unet"]


def narrow(**fields):
    return UNet(3, **{"features": (2, 3, 4), **fields})


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


@pytest.mark.parametrize("name", UNET_CASES)
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", UNET_CASES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_run import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


def test_parameter_count_of_the_papers_network():
    # By arithmetic: two 3x3 convolutions a level, a 2x2 up-convolution and two 3x3 convolutions a step up,
    # a 1x1 head; each with its biases.
    widths, count, inputs = (64, 128, 256, 512, 1024), 0, 1
    for width in widths:
        count += (9 * inputs + 1) * width + (9 * width + 1) * width
        inputs = width
    for width in reversed(widths[:-1]):
        count += (4 * 2 * width + 1) * width + (9 * 2 * width + 1) * width + (9 * width + 1) * width
    count += (64 + 1) * 2
    assert count == 31_030_658
    assert count_parameters(shapes_of(UNet(2), (1, 32, 32, 1))["params"]) == count


def test_the_papers_tile_gives_the_papers_output():
    model = UNet(2, padding="valid")
    shape = (1, 572, 572, 1)
    logits = jax.eval_shape(
        functools.partial(model.apply, train=False),
        shapes_of(model, shape),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    assert logits.shape == (1, 388, 388, 2)


@pytest.mark.parametrize("size", [(1, 1), (15, 17), (180, 240)])
def test_same_padding_takes_any_size(size):
    model = narrow(use_norm=True)
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits = jax.eval_shape(functools.partial(model.apply, train=False), shapes_of(model), images)
    assert logits.shape == (2, *size, 3)
    assert logits.dtype == jnp.float32


@pytest.mark.slow
def test_valid_scores_a_tile_as_same_scores_the_whole_image():
    # A tile well inside the image, whose second pooling meets the same pairs of rows: offset 2 modulo 4.
    # Three levels without padding lose 20 pixels on each side.
    same, valid = narrow(dropout_rate=0.0), narrow(padding="valid", dropout_rate=0.0)
    images = jax.random.normal(jax.random.key(1), (1, 136, 136, 3))
    variables = jax.jit(functools.partial(same.init, train=False))(jax.random.key(0), images)
    whole = jax.jit(functools.partial(same.apply, train=False))(variables, images)
    tile = jax.jit(functools.partial(valid.apply, train=False))(variables, images[:, 22:114, 22:114])
    assert tile.shape == (1, 52, 52, 3)
    assert np.abs(tile).max() > 0.01
    np.testing.assert_allclose(tile, whole[:, 42:94, 42:94], rtol=1e-4, atol=1e-5)


def test_training_updates_batch_stats_and_evaluation_does_not():
    model = narrow(use_norm=True, dropout_rate=0.0)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 3)) + 3.0
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    run = functools.partial(model.apply, mutable=["batch_stats"])
    _, trained = jax.jit(functools.partial(run, train=True))(variables, images)
    _, evaluated = jax.jit(functools.partial(run, train=False))(variables, images)
    before = variables["batch_stats"]
    assert jax.tree.all(jax.tree.map(np.array_equal, evaluated["batch_stats"], before))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, trained["batch_stats"], before)
    assert jax.tree.all(moved)


def test_dropout_acts_in_training_only():
    model = narrow(dtype=jnp.bfloat16)
    images = jnp.ones((1, 16, 16, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    apply = jax.jit(lambda variables, key: model.apply(variables, images, train=True, rngs={"dropout": key}))
    one, two = apply(variables, jax.random.key(1)), apply(variables, jax.random.key(2))
    assert one.dtype == jnp.float32
    assert np.abs(one - two).max() > 0


def test_second_call_does_not_retrace():
    model, traces = narrow(), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    images = jnp.zeros((1, 16, 16, 3))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes_of(model))
    apply(variables, images)
    apply(variables, images + 1)
    assert traces == [(1, 16, 16, 3)]


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({"padding": "reflect"}, jnp.zeros((1, 32, 32, 3)), "expected 'same' or 'valid', got 'reflect'"),
        ({}, jnp.zeros((32, 32, 3)), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        ({}, jnp.zeros((1, 32, 32, 3), jnp.int32), "images: expected a floating dtype, got int32"),
        ({}, jnp.zeros((1, 0, 32, 3)), "at least one pixel"),
        (
            {"padding": "valid"},
            jnp.zeros((1, 60, 61, 3)),
            "cannot take 61 pixels; the next size that fits is 64",
        ),
    ],
)
def test_wrong_input_raises(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)


@pytest.mark.parametrize(("size", "expected"), [(572, 388), (188, 4), (204, 20)])
def test_valid_size_of_five_levels(size, expected):
    assert unet_valid_size(size) == expected


@pytest.mark.parametrize("size", [-5, 0, 100, 571, 573])
def test_valid_size_names_the_next_one_that_fits(size):
    with pytest.raises(ValueError, match=f"cannot take {size} pixels") as caught:
        unet_valid_size(size)
    following = int(str(caught.value).split("fits is ")[1].split(";")[0])
    assert following > size
    assert unet_valid_size(following) > 0
