"""What all mobile networks share: levels, padding, dilation, and the head."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.mobile_cases import shapes_of
from oracles.network_cases import assert_close

from jaxvision import zoo
from jaxvision.backbones import (
    EfficientNet,
    MobileClassifier,
    MobileNetV1,
    MobileNetV2,
    MobileNetV3,
    PooledClassifier,
    mobilenet_v3,
)
from jaxvision.layers import BatchNorm

NARROW = [
    MobileNetV1(width=0.05),
    MobileNetV2(width=0.05, depth=0.4),
    mobilenet_v3("mobilenet_v3_small", width=0.05),
    EfficientNet(width=0.05, depth=0.4),
]


def random_variables(model):
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.1, 1.0, leaf.shape).astype(leaf.dtype), shapes_of(model)[1]
    )
    variables["params"] = jax.tree.map(lambda leaf: leaf - 0.5, variables["params"])
    return variables


@pytest.mark.parametrize("model", NARROW, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_bounds_the_strides(model, output_stride):
    model = model.clone(output_stride=output_stride)
    features, _ = shapes_of(model, (2, 97, 160, 3))
    assert list(model.strides.values()) == [min(2**level, output_stride) for level in range(1, 6)]
    for name, feature in features.items():
        stride = model.strides[name]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, model.channels[name])


# No squeeze-and-excitation, which sees all pixels; and widths that grow with each stride, since a block that
# has no stride left adds its input where it has as many channels.
@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [NARROW[0], EfficientNet(width=0.25, depth=0.4, squeeze=False)],
    ids=lambda model: type(model).__name__,
)
def test_dilated_features_are_the_strided_ones_at_every_fourth_pixel(model):
    sparse, full = model, model.clone(output_stride=8)
    images, variables = jax.random.normal(jax.random.key(1), (1, 75, 64, 3)), random_variables(sparse)

    @jax.jit
    def run(variables, images):
        return [network.apply(variables, images, train=False) for network in (sparse, full)]

    strided, dilated = run(variables, images)
    for name, step in [("c3", 1), ("c4", 2), ("c5", 4)]:
        assert_close(name, dilated[name][:, ::step, ::step], np.asarray(strided[name]))


@pytest.mark.slow
def test_the_paddings_are_one_at_odd_sizes_and_differ_at_even_ones():
    ours = MobileNetV1(width=0.05)
    theirs, variables = ours.clone(padding="tensorflow"), random_variables(ours)
    run = jax.jit(lambda images: [m.apply(variables, images, train=False)["c5"] for m in (ours, theirs)])
    # 65 -> 33 -> 17 -> 9 -> 5 -> 3: odd all the way.
    odd = jax.random.normal(jax.random.key(0), (1, 65, 65, 3))
    assert_close("odd", *run(odd))
    equal, ceiling = run(odd[:, :64, :64])
    assert equal.shape == ceiling.shape
    assert np.abs(equal - ceiling).max() > 1e-3 * np.abs(equal).max()


@pytest.mark.parametrize("model", NARROW, ids=lambda model: type(model).__name__)
def test_empty_batches_and_tiny_images_pass(model):
    assert shapes_of(model, (0, 32, 32, 3))[0]["c5"].shape == (0, 1, 1, model.channels["c5"])
    features, _ = shapes_of(model, (1, 1, 1, 3))
    assert {feature.shape[1:3] for feature in features.values()} == {(1, 1)}


@pytest.mark.slow
def test_second_call_does_not_retrace_and_vmap_passes():
    model, traces = MobileClassifier(NARROW[1], 3), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    variables = random_variables(model)
    images = jax.random.normal(jax.random.key(0), (3, 40, 33, 3))
    logits = apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    mapped = jax.jit(jax.vmap(lambda image: model.apply(variables, image[None], train=False)[0]))(images)
    assert_close("mapped", mapped, np.asarray(logits))


def test_dtype_norm_and_head_fields_reach_every_layer():
    norm = functools.partial(BatchNorm, epsilon=0.5)
    body = mobilenet_v3("mobilenet_v3_small", width=0.05, dtype=jnp.bfloat16, norm=norm)
    model, norms = MobileClassifier(body, 7, (24, 20, 12), dtype=jnp.bfloat16), []

    def record(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            norms.append(context.module.epsilon)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        logits, variables = shapes_of(model)
    assert (logits.shape, logits.dtype) == ((1, 7), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {feature.dtype for feature in shapes_of(body)[0].values()} == {jnp.dtype("bfloat16")}
    assert set(norms) == {0.5}
    params = variables["params"]
    assert params["head_conv"]["conv"]["kernel"].shape == (1, 1, body.channels["c5"], 24)
    assert [params[name]["kernel"].shape for name in ("hidden1", "hidden2", "head")] == [
        (24, 20), (20, 12), (12, 7),
    ]  # fmt: skip


@pytest.mark.slow
def test_axis_name_reaches_the_head_through_the_backbone():
    model = zoo.create("efficientnet_b5", axis_name="data", backbone={"width": 0.05, "depth": 0.4})
    assert (model.backbone.norm().axis_name, model.backbone.norm().epsilon) == ("data", 1e-3)
    images = jax.random.normal(jax.random.key(0), (2, 2, 32, 32, 3))
    variables = random_variables(model)

    def step(images):
        run = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        return run(variables, images, rngs={"dropout": jax.random.key(1)})[1]["batch_stats"]

    statistics = jax.jit(jax.vmap(step, axis_name="data"))(images)
    # Both shares of the batch end with the statistics of the whole.
    for leaf in jax.tree.leaves(statistics):
        np.testing.assert_allclose(leaf[0], leaf[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_training_draws_dropout_and_drop_path_and_evaluation_does_not():
    model = MobileClassifier(EfficientNet(width=0.05, depth=0.4, drop_path_rate=0.9), 3, dropout_rate=0.5)
    variables = random_variables(model)
    images = jax.random.normal(jax.random.key(0), (2, 33, 33, 3))

    @jax.jit
    def train(key):
        run = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        return run(variables, images, rngs={"dropout": key})[0]

    first, again, other = (train(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    with pytest.raises(Exception, match="dropout"):
        shapes = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        jax.eval_shape(shapes, variables, images)


@pytest.mark.slow
def test_the_head_of_efficientnet_starts_uniform_and_that_of_mobilenet_normal():
    def kernel(name):
        model = zoo.create(name, num_classes=50, backbone={"width": 0.05})
        images = jnp.zeros((1, 8, 8, 3))
        # Of what the program does not return nothing is compiled.
        return jax.jit(
            lambda: model.init(jax.random.key(0), images, train=False)["params"]["head"]["kernel"]
        )()

    uniform, normal = np.asarray(kernel("efficientnet_b0")), np.asarray(kernel("mobilenet_v2"))
    limit = 1 / np.sqrt(50)
    assert 0.99 * limit < np.abs(uniform).max() <= limit
    np.testing.assert_allclose(uniform.std(), limit / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(normal.std(), 0.01, rtol=0.05)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, jnp.zeros((64, 64, 3)), r"images: expected \[N, H, W, C\], got \[64, 64, 3\]"),
        ({}, jnp.zeros((1, 64, 64, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        ({"output_stride": 4}, jnp.zeros((1, 64, 64, 3)), "output_stride: expected 8, 16 or 32, got 4"),
        ({"padding": "same"}, jnp.zeros((1, 64, 64, 3)), 'padding: expected "torch" or "tensorflow", got'),
    ],
)
def test_wrong_arguments_raise(fields, images, message):
    model = MobileNetV3(width=0.05, **fields)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


def test_drop_path_needs_a_sum():
    model = PooledClassifier(MobileNetV1(width=0.05, drop_path_rate=0.1), 3)
    with pytest.raises(ValueError, match=r"drop_path_rate: expected 0, got 0\.1; MobileNet V1 has no sum"):
        shapes_of(model)
