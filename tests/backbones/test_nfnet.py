import functools
import math

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
from jaxvision.backbones import (
    NFNET_RECIPES,
    NFNET_VARIANTS,
    NFBlock,
    NFNet,
    NFNetClassifier,
    nfnet,
)
from jaxvision.core import count_parameters
from jaxvision.ops import gelu
from jaxvision.weights import convert, nfnet_timm_rules

NAMES = names_of("nfnet")
# timm's; Brock et al. 2021, table 3: 71.5, 132.6, 193.8 and 254.9 million.
PUBLISHED = {
    "dm_nfnet_f0": 71_489_284,
    "dm_nfnet_f1": 132_634_256,
    "dm_nfnet_f2": 193_779_228,
    "dm_nfnet_f3": 254_924_200,
    "nfnet_f0": 71_489_272,
    "nfnet_f1": 132_634_232,
    "nfnet_f2": 193_779_192,
    "nfnet_f3": 254_924_152,
}
VARIANTS = [
    pytest.param(name, marks=() if name.endswith("f0") else pytest.mark.slow) for name in sorted(PUBLISHED)
]


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def narrow(**fields):
    base = {"blocks": (1, 1, 1, 1), "features": (4, 4, 8, 8), "stem_features": 8, "group_size": 2}
    return NFNet(**{**base, **fields})


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_is_the_published_one(variant):
    _, variables = shapes_of(zoo.create(variant))
    assert count_parameters(variables["params"]) == PUBLISHED[variant]
    assert set(variables) == {"params"}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_have_the_declared_strides_and_channels(variant):
    model = nfnet(variant)
    features, _ = shapes_of(model, (2, 97, 160, 3))
    assert model.strides == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
    assert model.channels == {"c1": 64, "c2": 256, "c3": 512, "c4": 1536, "c5": 1536}
    for name, feature in features.items():
        stride = model.strides[name]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, model.channels[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_equals_recorded_timm(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_recording_is_what_timm_computes(name):
    pytest.importorskip("timm")
    from oracles.torch_modern import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(NFNET_VARIANTS))
def test_timm_has_the_same_parameters(variant):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    with torch.device("meta"):
        theirs = timm.create_model(variant)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[variant]
    source = {key: np.broadcast_to(np.float32(0), value.shape) for key, value in theirs.state_dict().items()}
    convert(source, nfnet_timm_rules(), shapes_of(zoo.create(variant))[1])


def assert_equals_timm(ours, theirs, images):
    """Logits and c1 to c5 with the same seeded weights."""
    import torch
    from oracles.torch_run import channels_last

    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    inputs = torch.from_numpy(images).double().permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = theirs.eval().double()(inputs)
        maps = theirs.forward_intermediates(inputs, intermediates_only=True)
    variables = convert(source, nfnet_timm_rules(), shapes_of(ours, images.shape)[1])
    features = in_double(jax.jit(features_and_logits(ours)), variables, images)
    assert_close("logits", features.pop("logits"), logits.numpy(), relative=1e-6)
    # timm's last one is behind the convolution of the head.
    for level, wanted in enumerate(maps[:-1], start=1):
        assert_close(f"c{level}", features[f"c{level}"], channels_last(wanted), relative=1e-6)
    assert len(maps) == len(features) == 5


@pytest.mark.parity
@pytest.mark.parametrize("variant", ["dm_nfnet_f0", "nfnet_f0"])
def test_full_size_equals_live_timm(variant):
    timm = pytest.importorskip("timm")
    images = np.random.default_rng(0).standard_normal((2, 64, 75, 3)).astype(np.float32)
    assert_equals_timm(zoo.create(variant), timm.create_model(variant), images)


@pytest.mark.parity
@pytest.mark.parametrize("variant", ["dm_nfnet_f1", "nfnet_f1", "dm_nfnet_f3"])
def test_full_depth_equals_live_timm(variant):
    # A sixteenth as wide: at full width timm and ours would hold 3 GB.
    timm = pytest.importorskip("timm")
    widths = {"features": (16, 32, 96, 96), "stem_features": 16, "group_size": 8}
    theirs = timm.create_model(
        variant, channels=(16, 32, 96, 96), stem_chs=16, group_size=8, num_features=192
    )
    images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    assert_equals_timm(zoo.create(variant, backbone=widths), theirs, images)


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(NFNET_VARIANTS))
def test_preprocessing_and_recipe_are_timms(variant):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(variant)
    ours, recipe = zoo.ENTRIES[variant].preprocessing, NFNET_RECIPES[variant[-2:]]
    assert (recipe.train_size, recipe.test_size) == (config.input_size[1], config.test_input_size[1])
    assert ours.size == config.test_input_size[1:]
    side = math.floor(config.test_input_size[1] / config.crop_pct)
    assert ours.resize == ((side, side) if config.crop_mode == "squash" else side)
    assert (ours.mean, ours.std, ours.interpolation) == (config.mean, config.std, config.interpolation)


def test_recipes_are_those_of_table_1():
    rows = {name: tuple(recipe)[:3] for name, recipe in NFNET_RECIPES.items()}
    assert rows == {
        "f0": (192, 256, 0.2),
        "f1": (224, 320, 0.3),
        "f2": (256, 352, 0.4),
        "f3": (320, 416, 0.4),
    }


def test_activations_keep_unit_variance():
    # 1.7015 is one over the deviation of GELU(x), x standard normal, by numerical integration.
    x = np.linspace(-12, 12, 200_001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    values = 0.5 * x * (1 + np.asarray([math.erf(value / math.sqrt(2)) for value in x]))
    step = x[1] - x[0]
    mean, square = (values * density).sum() * step, (values**2 * density).sum() * step
    assert 1 / math.sqrt(square - mean**2) == pytest.approx(NFNet().activation_gain, rel=1e-3)


def blocks_of(model):
    """The blocks of a net, in order."""
    blocks = []

    def intercept(next_method, arguments, keywords, context):
        if isinstance(context.module, NFBlock) and context.method_name == "__call__":
            blocks.append(context.module)
        return next_method(*arguments, **keywords)

    with nn.intercept_methods(intercept):
        shapes_of(model)
    return blocks


def test_beta_is_one_over_the_deviation_that_the_blocks_before_make():
    # Brock et al. 2021, section 3: each block adds alpha squared, the first one of a stage to 1.
    betas = [block.beta for block in blocks_of(narrow(blocks=(1, 1, 4, 1), alpha=0.5))]
    variances = [1, 1.25, 1.25, 1.25, 1.5, 1.75, 2.0]
    np.testing.assert_allclose(betas, np.array(variances) ** -0.5, rtol=1e-6)


@pytest.mark.parametrize("use_skip_gain", [True, False])
def test_blocks_start_as_their_shortcut(use_skip_gain):
    block = NFBlock(4, group_size=2, use_skip_gain=use_skip_gain)
    x = jax.random.normal(jax.random.key(1), (2, 5, 4, 4))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(y, x)
    gain = variables["params"]["conv3"]["gain"]
    np.testing.assert_array_equal(gain, np.full(4, float(use_skip_gain)))
    assert ("skip_gain" in variables["params"]) == use_skip_gain


def test_load_fills_an_nfnet_from_a_file(tmp_path):
    case = CASES["nfnet_skip_gain"]
    source = seeded_state_dict(recorded("nfnet_skip_gain")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    _, variables, *_ = zoo.load(
        "dm_nfnet_f0", weights=tmp_path / "weights.npz", num_classes=3, backbone=case.fields
    )
    block = variables["params"]["backbone"]["stage2_block1"]
    np.testing.assert_array_equal(block["skip_gain"], source["stages.1.1.skipinit_gain"])
    np.testing.assert_array_equal(block["conv2b"]["gain"], source["stages.1.1.conv2b.gain"][:, 0, 0, 0])


def test_options_reach_the_blocks_and_dtype_the_features():
    model = narrow(drop_path_rate=0.6, alpha=0.5, activation=nn.silu, dtype=jnp.bfloat16)
    features, variables = shapes_of(model)
    blocks = blocks_of(model)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_allclose([block.drop_path_rate for block in blocks], [0.0, 0.2, 0.4, 0.6])
    assert {block.alpha for block in blocks} == {0.5}
    x = jnp.array([0.5, -1.0])
    np.testing.assert_allclose(blocks[0].activation(x), 1.7015043497085571 * nn.silu(x), rtol=1e-6)
    inside = narrow(gain_in_conv=True)
    assert inside.kernel_gain == 1.7015043497085571
    np.testing.assert_allclose(inside.scaled_activation(x), gelu(x), rtol=1e-6)
    assert shapes_of(NFNetClassifier(model, 3, dtype=jnp.bfloat16))[0].dtype == jnp.float32


def test_second_call_does_not_retrace_and_any_size_passes():
    model, traces = narrow(), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    features, target = shapes_of(model, (1, 1, 1, 3))
    assert {feature.shape[1:3] for feature in features.values()} == {(1, 1)}
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), target)
    images = np.ones((2, 40, 33, 3), np.float32)
    apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    assert shapes_of(NFNetClassifier(model, 3), (0, 32, 32, 3))[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, jnp.zeros((64, 64, 3)), r"images: expected \[N, H, W, C\], got \[64, 64, 3\]"),
        ({}, jnp.zeros((1, 64, 64, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        ({"blocks": (1, 1)}, jnp.zeros((1, 64, 64, 3)), "blocks and features: expected one number a stage"),
        ({"stem_features": 12}, jnp.zeros((1, 64, 64, 3)), "stem_features: expected a multiple of 8, got 12"),
        ({"group_size": 3}, jnp.zeros((1, 64, 64, 3)), "features: expected a multiple of 6.*got 4"),
    ],
)
def test_wrong_arguments_raise(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)


def test_wrong_strides_raise():
    with pytest.raises(ValueError, match="strides: expected 1 or 2, got 3"):
        shapes_of(NFBlock(4, 3, group_size=2), (1, 8, 8, 4))


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown NFNet variant 'nfnet_f9'.*nfnet_f3"):
        nfnet("nfnet_f9")
