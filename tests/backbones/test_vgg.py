import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import (
    CASES,
    assert_close,
    check_against,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_state_dict,
)

from jaxvision import zoo
from jaxvision.backbones import VGG, VGG_VARIANTS, PooledClassifier, VGGClassifier, vgg
from jaxvision.core import count_parameters
from jaxvision.weights import BOOKKEEPING, convert, vgg_classifier_rules

VGG_CASES = [name for name, case in CASES.items() if case.family == "vgg"]
# Simonyan and Zisserman 2015, table 2, in millions: 133, 133, 138, 144. These are torchvision's exact ones.
PUBLISHED = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


def shapes_of(model, shape=(1, 224, 224, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


def narrow(**fields):
    return VGG((1, 1, 1, 1, 1), (2, 3, 4, 5, 6), **fields)


# The others are deeper or wider.
QUICK_FIRST = [
    pytest.param(name, marks=() if name in ("vgg11", "vgg11_bn") else pytest.mark.slow)
    for name in sorted(VGG_VARIANTS)
]


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_parameter_count_is_the_published_one(variant):
    assert count_parameters(shapes_of(VGGClassifier(vgg(variant)))["params"]) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_features_have_strides_2_to_32(variant):
    model, images = vgg(variant), jax.ShapeDtypeStruct((2, 96, 160, 3), jnp.float32)
    features = jax.eval_shape(functools.partial(model.apply, train=False), shapes_of(model), images)
    assert {name: feature.shape for name, feature in features.items()} == {
        "c1": (2, 48, 80, 64),
        "c2": (2, 24, 40, 128),
        "c3": (2, 12, 20, 256),
        "c4": (2, 6, 10, 512),
        "c5": (2, 3, 5, 512),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", VGG_CASES)
def test_equals_recorded_torchvision(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", VGG_CASES)
def test_recording_is_what_torchvision_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_run import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(VGG_VARIANTS))
def test_full_size_equals_live_torchvision(variant):
    """Logits, and the features after each pooling."""
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    theirs = torchvision.models.get_model(variant, weights=None, init_weights=False).eval()
    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    ours, fields = zoo.create(variant), VGG_VARIANTS[variant]
    rules = vgg_classifier_rules(fields["convolutions"], use_norm=fields.get("use_norm", False))
    variables = convert(source, rules, shapes_of(ours), ignore=BOOKKEEPING)
    images = np.random.default_rng(0).standard_normal((1, 75, 64, 3)).astype(np.float32)
    expected = {}
    with torch.no_grad():
        x = torch.from_numpy(images).double().permute(0, 3, 1, 2)
        expected["logits"] = theirs.double()(x).numpy()
        for layer in theirs.features:
            x = layer(x)
            if isinstance(layer, torch.nn.MaxPool2d):
                expected[f"c{len(expected)}"] = x.permute(0, 2, 3, 1).numpy()
    actual = in_double(features_and_logits(ours), variables, images)
    assert actual.keys() == expected.keys() == {"logits", "c1", "c2", "c3", "c4", "c5"}
    for name, wanted in expected.items():
        assert_close(name, actual[name], wanted, relative=1e-6)


def test_unequal_stages_are_named():
    with pytest.raises(ValueError, match="convolutions and features: expected one number a stage"):
        shapes_of(VGG((1, 1, 1), (2, 3)))


def test_training_updates_batch_stats_and_evaluation_does_not():
    model = narrow(use_norm=True)
    images = jax.random.normal(jax.random.key(1), (2, 64, 64, 3)) + 3.0
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    run = functools.partial(model.apply, mutable=["batch_stats"])
    _, trained = jax.jit(functools.partial(run, train=True))(variables, images)
    _, evaluated = jax.jit(functools.partial(run, train=False))(variables, images)
    before = variables["batch_stats"]
    assert jax.tree.all(jax.tree.map(np.array_equal, evaluated["batch_stats"], before))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, trained["batch_stats"], before)
    assert jax.tree.all(moved)


def test_statistics_are_averaged_over_the_named_axis():
    images = jax.random.normal(jax.random.key(1), (4, 64, 64, 3))
    synced = narrow(use_norm=True, axis_name="data")
    plain = narrow(use_norm=True)
    variables = jax.jit(functools.partial(plain.init, train=False))(jax.random.key(0), images)
    run = functools.partial(synced.apply, variables, train=True, mutable=["batch_stats"])
    halves = images.reshape(2, 2, 64, 64, 3)
    _, split = jax.jit(jax.vmap(run, axis_name="data"))(halves)
    _, whole = jax.jit(functools.partial(plain.apply, train=True, mutable=["batch_stats"]))(variables, images)
    for ours, theirs in zip(jax.tree.leaves(split), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(ours[0], ours[1])


@pytest.mark.parametrize("head", [PooledClassifier, VGGClassifier])
def test_heads_give_float32_logits_and_second_call_does_not_retrace(head):
    fields = {"hidden": 7} if head is VGGClassifier else {}
    model = head(narrow(dtype=jnp.bfloat16), num_classes=4, dtype=jnp.bfloat16, **fields)
    traces = []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    images = jnp.ones((2, 40, 32, 3))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), shapes_of(model))
    logits = apply(variables, images)
    assert logits.shape == (2, 4)
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    apply(variables, images * 2)
    assert len(traces) == 1


def test_pooled_head_is_mean_and_linear():
    model = PooledClassifier(narrow(), num_classes=4)
    images = jax.random.normal(jax.random.key(1), (2, 64, 96, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    body = {"params": variables["params"]["backbone"]}
    features = jax.jit(functools.partial(model.backbone.apply, train=False))(body, images)
    head = variables["params"]["head"]
    expected = np.asarray(features["c5"]).mean((1, 2)) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (jnp.zeros((64, 64, 3)), r"images: expected \[N, H, W, C\], got \[64, 64, 3\]"),
        (jnp.zeros((1, 64, 64, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        (jnp.zeros((1, 31, 64, 3)), "at least 32 pixels high and wide"),
    ],
)
def test_wrong_images_raise(images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow().init, train=False), jax.random.key(0), images)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown VGG variant 'vgg18'.*vgg1"):
        vgg("vgg18")


def test_an_empty_batch_has_no_logits():
    for head in (PooledClassifier, VGGClassifier):
        model = head(vgg("vgg11"), 5)
        images = jax.ShapeDtypeStruct((0, 32, 32, 3), jnp.float32)
        run = functools.partial(model.init_with_output, train=False)
        assert jax.eval_shape(run, jax.random.key(0), images)[0].shape == (0, 5)
