import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.modern_cases import CASES, check_against, names_of
from oracles.network_cases import (
    assert_close,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_state_dict,
)

from jaxvision import zoo
from jaxvision.backbones import CIFAR_RESNET_VARIANTS, CifarResNet, PooledClassifier, cifar_resnet
from jaxvision.core import count_parameters
from jaxvision.layers import BatchNorm
from jaxvision.weights import BOOKKEEPING, cifar_resnet_classifier_rules, convert

NAMES = names_of("cifar")
# He et al. 2016, table 6: 0.27M, 0.46M, 0.66M, 0.85M and 1.7M.
PUBLISHED = {
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_resnet110": 1_727_962,
}


def shapes_of(model, shape=(1, 32, 32, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def narrow(**fields):
    return CifarResNet(**{"blocks": (1, 1, 1), "features": (2, 3, 4), **fields})


# The others are deeper or wider.
QUICK_FIRST = [
    pytest.param(name, marks=() if name == "cifar_resnet20" else pytest.mark.slow)
    for name in sorted(CIFAR_RESNET_VARIANTS)
]


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_parameter_count_is_the_published_one(variant):
    _, variables = shapes_of(zoo.create(variant))
    assert count_parameters(variables["params"]) == PUBLISHED[variant]


def test_option_b_adds_the_two_projections():
    _, variables = shapes_of(zoo.create("cifar_resnet20", backbone={"shortcut": "projection"}))
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert count_parameters(variables["params"]) == PUBLISHED["cifar_resnet20"] + projections


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_features_have_the_declared_strides_and_channels(variant):
    model = cifar_resnet(variant)
    features, _ = shapes_of(model, (2, 33, 32, 3))
    assert model.channels == {"c1": 16, "c2": 32, "c3": 64}
    assert model.strides == {"c1": 1, "c2": 2, "c3": 4}
    for name, feature in features.items():
        stride = model.strides[name]
        assert feature.shape == (2, -(-33 // stride), 32 // stride, model.channels[name])


@pytest.mark.parametrize("name", NAMES)
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_modern import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(CIFAR_RESNET_VARIANTS))
def test_full_size_equals_live_torch(variant):
    torch = pytest.importorskip("torch")
    from oracles.torch_cifar_resnet import CifarResNet as Theirs
    from oracles.torch_run import channels_last

    theirs = Theirs(CIFAR_RESNET_VARIANTS[variant]["blocks"]).eval()
    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    # Every norm halves the branch: the sum of 54 blocks stays small.
    source = {key: value / 2 if "bn2.weight" in key else value for key, value in source.items()}
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[variant]
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    inputs = torch.from_numpy(images).double().permute(0, 3, 1, 2)
    theirs.double()
    with torch.no_grad():
        expected = {**theirs.features(inputs), "logits": theirs(inputs)}
    ours = zoo.create(variant)
    target = shapes_of(ours)[1]
    variables = convert(source, cifar_resnet_classifier_rules(), target, ignore=BOOKKEEPING)
    for name, actual in in_double(jax.jit(features_and_logits(ours)), variables, images).items():
        assert_close(name, actual, channels_last(expected[name]), relative=1e-6)


def test_load_takes_a_checkpoint_of_a_wrapped_model(tmp_path):
    # The published checkpoints name every tensor "module.".
    case = CASES["cifar_zeros"]
    source = seeded_state_dict(recorded("cifar_zeros")["shapes"])
    np.savez(tmp_path / "weights.npz", **{f"module.{key}": value for key, value in source.items()})
    _, variables, *_ = zoo.load(
        "cifar_resnet20", weights=tmp_path / "weights.npz", num_classes=3, backbone=case.fields
    )
    kernel = variables["params"]["backbone"]["stage2_block1"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, source["layer2.1.conv2.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["linear.weight"].T)


def test_zoo_has_ten_classes_and_small_images():
    entry = zoo.ENTRIES["cifar_resnet56"]
    assert entry.preprocessing.input_shape == (32, 32, 3)
    model = zoo.create("cifar_resnet56", axis_name="data")
    assert (model.num_classes, model.feature) == (10, "c3")
    assert model.backbone.norm().axis_name == "data"


def test_options_reach_the_blocks():
    model = narrow(drop_path_rate=0.6, dtype=jnp.bfloat16, norm=functools.partial(BatchNorm, momentum=0.5))
    features, variables = shapes_of(model)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    rates = {}

    def intercept(next_method, arguments, keywords, context):
        if hasattr(context.module, "drop_path_rate"):
            rates[context.module.name] = context.module.drop_path_rate
        if isinstance(context.module, BatchNorm):
            assert context.module.momentum == 0.5
        return next_method(*arguments, **keywords)

    with nn.intercept_methods(intercept):
        shapes_of(model)
    blocks = [rates[f"stage{stage}_block0"] for stage in (1, 2, 3)]
    np.testing.assert_allclose(blocks, [0.2, 0.4, 0.6])


def test_second_call_does_not_retrace_and_any_size_passes():
    model, traces = narrow(), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    features, target = shapes_of(model, (1, 1, 1, 3))
    assert {feature.shape[1:3] for feature in features.values()} == {(1, 1)}
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    images = np.ones((2, 9, 6, 3), np.float32)
    apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    assert shapes_of(PooledClassifier(model, 5, feature="c3"), (0, 32, 32, 3))[0].shape == (0, 5)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, jnp.zeros((32, 32, 3)), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        ({}, jnp.zeros((1, 32, 32, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        ({"blocks": (1, 1)}, jnp.zeros((1, 32, 32, 3)), "blocks and features: expected one number a stage"),
        ({"shortcut": "A"}, jnp.zeros((1, 32, 32, 3)), "shortcut: expected 'projection' or 'zeros', got 'A'"),
        (
            {"features": (4, 3, 4)},
            jnp.zeros((1, 32, 32, 3)),
            "features: expected at least the 4 channels of x for a shortcut of zeros, got 3",
        ),
    ],
)
def test_wrong_arguments_raise(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown CIFAR ResNet variant 'resnet20'.*cifar_resnet20"):
        cifar_resnet("resnet20")
