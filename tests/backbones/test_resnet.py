import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import mobile_cases
from oracles.network_cases import (
    CASES,
    assert_close,
    check_against,
    check_model,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_images,
    seeded_state_dict,
)

from jaxvision import zoo
from jaxvision.backbones import RESNET_VARIANTS, PooledClassifier, ResNet, resnet
from jaxvision.core import count_parameters
from jaxvision.layers import BasicBlock, BatchNorm, Bottleneck, SqueezeExcitation
from jaxvision.weights import BOOKKEEPING, convert, resnet_backbone_rules, resnet_classifier_rules

RESNET_CASES = [name for name, case in CASES.items() if case.family == "resnet"]
# torchvision's, then timm's; He et al. 2016, Xie et al. 2017 and Hu et al. 2018 give 25.5, 25.0 and 28.1
# million for ResNet-50, ResNeXt-50 and SE-ResNet-50.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
IN_TORCHVISION = sorted(PUBLISHED)
PUBLISHED |= {
    "resnext101_32x4d": 44_177_704,
    "seresnet18": 11_779_624,
    "seresnet34": 21_960_416,
    "seresnet50": 28_088_024,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "seresnext50_32x4d": 27_559_896,
    "seresnext101_32x4d": 48_955_416,
    "seresnext101_32x8d": 93_569_048,
    "seresnext101_64x4d": 88_232_984,
}
IN_TIMM = sorted(set(PUBLISHED) - set(IN_TORCHVISION))


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def narrow(block=BasicBlock, **fields):
    return ResNet(
        **{"blocks": (1, 1, 1, 1), "features": (4, 4, 8, 8), "stem_features": 4, "block": block, **fields}
    )


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=pytest.mark.slow if re.search("1[05]|se.*50", name) else ())
        for name in sorted(RESNET_VARIANTS)
    ],
)
def test_parameter_count_is_the_published_one(variant):
    _, variables = shapes_of(PooledClassifier(resnet(variant), 1000))
    assert count_parameters(variables["params"]) == PUBLISHED[variant]


@pytest.mark.parity
@pytest.mark.parametrize("variant", IN_TORCHVISION)
def test_torchvision_has_the_same_parameters(variant):
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = torchvision.models.get_model(variant, weights=None)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[variant]
    # Every tensor has one place, and every place its tensor.
    source = {key: np.zeros(value.shape, np.float32) for key, value in theirs.state_dict().items()}
    convert(source, resnet_classifier_rules(), shapes_of(zoo.create(variant))[1], ignore=BOOKKEEPING)


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(PUBLISHED))
def test_timm_has_the_same_parameters_under_the_same_names(variant):
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_state

    source, count = live_state("timm", variant)
    assert count == PUBLISHED[variant]
    convert(source, resnet_classifier_rules(), shapes_of(zoo.create(variant))[1], ignore=BOOKKEEPING)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("variant", ["resnet18", "resnext50_32x4d"])
def test_features_have_the_declared_strides_and_channels(variant, output_stride):
    model = resnet(variant, output_stride=output_stride)
    features, _ = shapes_of(model, (2, 97, 160, 3))
    assert model.strides == {name: min(2**i, output_stride) for i, name in enumerate(features, start=1)}
    expanded = (64, 64, 128, 256, 512) if variant == "resnet18" else (64, 256, 512, 1024, 2048)
    assert tuple(model.channels.values()) == expanded
    for name, feature in features.items():
        stride = model.strides[name]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, model.channels[name])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "resnet_dilated" else ()) for name in RESNET_CASES],
)
def test_equals_recorded_torchvision(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", RESNET_CASES)
def test_recording_is_what_torchvision_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_run import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.slow
def test_se_resnet_equals_recorded_timm():
    case = mobile_cases.CASES["se_resnet"]
    model, rules = mobile_cases.our_model(case), mobile_cases.rules_for(case)
    check_model(model, rules, seeded_images(case), recorded("se_resnet"))


@pytest.mark.parity
@pytest.mark.parametrize("variant", IN_TIMM)
def test_full_size_equals_live_timm(variant):
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_outputs

    images = np.random.default_rng(0).standard_normal((1, 75, 64, 3)).astype(np.float32)
    levels = ["act1", *(f"layer{index}" for index in range(1, 5))]
    source, expected = live_outputs("timm", variant, levels, images)
    ours = zoo.create(variant)
    variables = convert(source, resnet_classifier_rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)
    for name, actual in in_double(features_and_logits(ours), variables, images).items():
        assert_close(name, actual, expected[name], relative=1e-6)


def seeded_torchvision(variant, images):
    """torchvision's net with seeded weights, those weights, and images for it."""
    import torch
    import torchvision

    theirs = torchvision.models.get_model(variant, weights=None)
    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    return theirs, source, torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parity
@pytest.mark.parametrize("variant", IN_TORCHVISION)
def test_full_size_equals_live_torchvision(variant):
    torch = pytest.importorskip("torch")
    from oracles.torch_run import channels_last
    from torchvision.models.feature_extraction import create_feature_extractor

    images = np.random.default_rng(0).standard_normal((1, 75, 64, 3)).astype(np.float32)
    theirs, source, inputs = seeded_torchvision(variant, images)
    nodes = {"relu": "c1", **{f"layer{i}": f"c{i + 1}" for i in range(1, 5)}, "fc": "logits"}
    with torch.no_grad():
        expected = create_feature_extractor(theirs.eval().double(), nodes)(inputs.double())
    ours = zoo.create(variant)
    variables = convert(source, resnet_classifier_rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)
    actuals = in_double(features_and_logits(ours), variables, images)
    assert actuals.keys() == expected.keys()
    for name, actual in actuals.items():
        wanted = expected[name]
        assert_close(name, actual, channels_last(wanted), relative=1e-6)


@pytest.mark.parity
def test_training_updates_the_statistics_of_resnet18_as_torch_does():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).standard_normal((4, 75, 64, 3)).astype(np.float32)
    theirs, source, inputs = seeded_torchvision("resnet18", images)
    with torch.no_grad():
        logits = theirs.train()(inputs).numpy()
    ours = zoo.create("resnet18")
    rules, target = resnet_classifier_rules(), shapes_of(ours)[1]
    variables = convert(source, rules, target, ignore=BOOKKEEPING)
    run = jax.jit(functools.partial(ours.apply, train=True, mutable=["batch_stats"]))
    actual, updates = run(variables, images)
    assert_close("logits", actual, logits)
    after = {key: value.numpy() for key, value in theirs.state_dict().items()}
    expected = convert(after, rules, target, ignore=BOOKKEEPING)["batch_stats"]
    for ours_leaf, theirs_leaf in zip(
        jax.tree.leaves(updates["batch_stats"]), jax.tree.leaves(expected), strict=True
    ):
        assert_close("statistics", ours_leaf, theirs_leaf)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_dilated_features_are_the_strided_ones_at_every_fourth_pixel(block):
    fields = {"blocks": (1, 1, 2, 2), "features": (4, 8, 12, 16)}
    sparse, full = narrow(block, **fields), narrow(block, output_stride=8, **fields)
    images = jax.random.normal(jax.random.key(1), (1, 75, 64, 3))

    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.1, 1.0, leaf.shape).astype(leaf.dtype), shapes_of(sparse)[1]
    )
    variables["params"] = jax.tree.map(lambda leaf: leaf - 0.5, variables["params"])

    @jax.jit
    def run(variables, images):
        return [model.apply(variables, images, train=False) for model in (sparse, full)]

    strided, dilated = run(variables, images)
    assert dilated["c5"].shape == (1, 10, 8, 16)
    for name, step in [("c3", 1), ("c4", 2), ("c5", 4)]:
        assert_close(name, dilated[name][:, ::step, ::step], np.asarray(strided[name]))


def test_backbone_rules_fill_a_backbone_alone():
    shapes = recorded("resnet_basic")["shapes"]
    source = {key: value for key, value in seeded_state_dict(shapes).items() if not key.startswith("fc.")}
    model = ResNet(**CASES["resnet_basic"].fields)
    variables = convert(source, resnet_backbone_rules(module=""), shapes_of(model)[1], ignore=BOOKKEEPING)
    first = variables["params"]["stage1_block1"]["conv2"]["kernel"]
    np.testing.assert_array_equal(first, source["layer1.1.conv2.weight"].transpose(2, 3, 1, 0))
    mean = variables["batch_stats"]["stage2_block0"]["shortcut_norm"]["mean"]
    np.testing.assert_array_equal(mean, source["layer2.0.downsample.1.running_mean"])


def test_options_reach_the_blocks():
    norm = functools.partial(BatchNorm, axis_name="data")
    squeeze = functools.partial(SqueezeExcitation, reduction=4)
    model = narrow(
        attention=squeeze, zero_init_residual=True, norm=norm, dtype=jnp.bfloat16, drop_path_rate=0.4
    )
    features, variables = shapes_of(model)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    made = []

    def block(features, **fields):
        made.append(fields)
        return BasicBlock(features, **fields)

    shapes_of(model.clone(block=block))
    np.testing.assert_allclose([fields["drop_path_rate"] for fields in made], [0.1, 0.2, 0.3, 0.4])
    assert all(fields["attention"] is squeeze and fields["norm"] is norm for fields in made)
    assert all(fields["zero_init_residual"] and fields["dtype"] == jnp.bfloat16 for fields in made)
    assert "attention" in variables["params"]["stage4_block0"]


def test_parameters_of_an_se_resnet():
    # Hu et al. 2018, on complexity: 2 / r * sum of N C^2 weights more, 2.5 million for ResNet-50 at r = 16.
    def count(**fields):
        return count_parameters(shapes_of(PooledClassifier(resnet("resnet50", **fields), 1000))[1]["params"])

    widths = [(3, 256), (4, 512), (6, 1024), (3, 2048)]
    biases = sum(n * (c + c // 16) for n, c in widths)
    more = count(attention=SqueezeExcitation) - count() - biases
    assert more == sum(n * 2 * c * c // 16 for n, c in widths) == 2_514_944


def test_se_variants_are_timms():
    for variant in RESNET_VARIANTS:
        model = resnet(variant)
        if variant.startswith("se"):
            # make_divisible(channels / 16) there: 8 at 64 channels, where the paper has 4.
            assert model.attention().divisor == 8
            assert model.zero_init_residual
            plain = resnet(variant.removeprefix("se"))
            assert (model.blocks, model.features) == (plain.blocks, plain.features)
        else:
            assert model.attention is None
    _, variables = shapes_of(resnet("seresnet18"))
    squeeze = variables["params"]["stage1_block0"]["attention"]["reduce_conv"]["kernel"]
    assert squeeze.shape == (1, 1, 64, 8)


def test_second_call_does_not_retrace_and_any_size_passes():
    model, traces = narrow(), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    features, target = shapes_of(model, (1, 1, 1, 3))
    assert {feature.shape[1:3] for feature in features.values()} == {(1, 1)}
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    images = np.ones((2, 40, 33, 3), np.float32)
    apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    assert shapes_of(model, (0, 32, 32, 3))[0]["c5"].shape == (0, 1, 1, 8)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, jnp.zeros((64, 64, 3)), r"images: expected \[N, H, W, C\], got \[64, 64, 3\]"),
        ({}, jnp.zeros((1, 64, 64, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        ({"output_stride": 4}, jnp.zeros((1, 64, 64, 3)), "output_stride: expected 8, 16 or 32, got 4"),
        ({"blocks": (1, 1)}, jnp.zeros((1, 64, 64, 3)), "blocks and features: expected one number a stage"),
    ],
)
def test_wrong_arguments_raise(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown ResNet variant 'resnet51'.*resnet50"):
        resnet("resnet51")
