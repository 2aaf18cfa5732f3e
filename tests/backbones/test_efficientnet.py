import functools
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
from oracles.mobile_cases import CASES, names_of, our_model, rules_for, shapes_of
from oracles.network_cases import (
    assert_close,
    check_model,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_images,
)

from jaxvision import zoo
from jaxvision.backbones import EFFICIENTNET_VARIANTS, EfficientNet, MobileClassifier, efficientnet
from jaxvision.core import count_parameters
from jaxvision.layers import InvertedResidual
from jaxvision.weights import (
    BOOKKEEPING,
    convert,
    efficientnet_pytorch_rules,
    efficientnet_rules,
    efficientnet_timm_rules,
)

# torchvision's num_params for B0 to B7, timm's for Lite0 to Lite4; Tan and Le 2019, table 2, give 5.3, 7.8,
# 9.2, 12, 19, 30, 43 and 66 million.
PUBLISHED = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "tf_efficientnet_lite0": 4_652_008,
    "tf_efficientnet_lite1": 5_416_680,
    "tf_efficientnet_lite2": 6_092_072,
    "tf_efficientnet_lite3": 8_197_096,
    "tf_efficientnet_lite4": 13_006_568,
}
# timm's feature_info, by the scale of the network; Lite's are the same.
CHANNELS = {
    "0": (16, 24, 40, 112, 320),
    "1": (16, 24, 40, 112, 320),
    "2": (16, 24, 48, 120, 352),
    "3": (24, 32, 48, 136, 384),
    "4": (24, 32, 56, 160, 448),
    "5": (24, 40, 64, 176, 512),
    "6": (32, 40, 72, 200, 576),
    "7": (32, 48, 80, 224, 640),
}
TORCHVISION = [f"efficientnet_b{index}" for index in range(8)]
TIMM = sorted(name for name in EFFICIENTNET_VARIANTS if name.startswith("tf_"))
# timm's numbers for "tf_" are those without.
PUBLISHED |= {f"tf_{name}": PUBLISHED[name] for name in TORCHVISION}
TORCHVISION_LEVELS = ["features.1", "features.2", "features.3", "features.5", "features.7"]
TIMM_LEVELS = ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"]


def slow_if(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow if slow(name) else ()) for name in names]


@pytest.mark.parametrize(
    "variant",
    slow_if(sorted(EFFICIENTNET_VARIANTS), lambda name: not name.endswith(("net_b0", "lite0"))),
)
def test_published_parameters_and_declared_features(variant):
    model = MobileClassifier(efficientnet(variant), 1000)
    run = functools.partial(
        model.init_with_output,
        train=False,
        capture_intermediates=lambda module, method: (
            method == "__call__" and isinstance(module, EfficientNet)
        ),
    )
    images = jax.ShapeDtypeStruct((2, 97, 160, 3), np.float32)
    logits, variables = jax.eval_shape(run, jax.random.key(0), images)
    assert logits.shape == (2, 1000)
    assert count_parameters(variables["params"]) == PUBLISHED[variant]
    body = model.backbone
    assert tuple(body.channels.values()) == CHANNELS[variant[-1]]
    assert body.strides == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
    features = variables["intermediates"]["backbone"]["__call__"][0]
    assert sorted(features) == ["c1", "c2", "c3", "c4", "c5"]
    for name, feature in features.items():
        stride = body.strides[name]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, body.channels[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_if(names_of(EfficientNet), lambda name: name != "efficientnet_tf"))
def test_equals_recorded_pytorch(name):
    case = CASES[name]
    check_model(our_model(case), rules_for(case), seeded_images(case), recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in names_of(EfficientNet) if "pytorch" not in name])
def test_recording_is_what_pytorch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_mobile import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize(
    ("library", "variant"),
    [*(("torchvision", name) for name in TORCHVISION), *(("timm", name) for name in [*TORCHVISION, *TIMM])],
)
def test_libraries_have_the_same_parameters(library, variant):
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_state

    source, count = live_state(library, variant)
    assert count == PUBLISHED[variant]
    rules = efficientnet_rules() if library == "torchvision" else efficientnet_timm_rules()
    convert(source, rules, shapes_of(zoo.create(variant))[1], ignore=BOOKKEEPING)


@pytest.mark.parity
@pytest.mark.parametrize("variant", [*TORCHVISION, *TIMM])
def test_full_size_equals_live(variant):
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_outputs

    # Even and odd sizes: TensorFlow's padding is another for each.
    images = np.random.default_rng(0).standard_normal((1, 64, 75, 3)).astype(np.float32)
    torchvision = variant in TORCHVISION
    source, expected = (
        live_outputs("torchvision", variant, TORCHVISION_LEVELS, images)
        if torchvision
        else live_outputs("timm", variant, TIMM_LEVELS, images)
    )
    ours = zoo.create(variant)
    rules = efficientnet_rules() if torchvision else efficientnet_timm_rules()
    variables = convert(source, rules, shapes_of(ours)[1], ignore=BOOKKEEPING)
    for name, actual in in_double(jax.jit(features_and_logits(ours)), variables, images).items():
        assert_close(name, actual, expected[name], relative=1e-6)


@pytest.mark.parity
def test_timms_b0_equals_torchvisions_for_timms_weights():
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_outputs

    images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    source, expected = live_outputs("timm", "efficientnet_b0", TIMM_LEVELS, images)
    ours = zoo.create("efficientnet_b0")
    (rules,) = zoo.ENTRIES["efficientnet_b0"].other_rules
    variables = convert(source, rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)
    for name, actual in in_double(jax.jit(features_and_logits(ours)), variables, images).items():
        assert_close(name, actual, expected[name], relative=1e-6)


def test_entries_name_the_other_tables_that_fit():
    # timm's B5 to B7 are other networks than torchvision's: 1e-5 in the normalisation.
    entries = zoo.ENTRIES
    assert [len(entries[name].other_rules) for name in TORCHVISION] == [1] * 5 + [0] * 3
    for name in TIMM:
        assert entries[name].rules is efficientnet_timm_rules
        assert len(entries[name].other_rules) == 1
    # Lite0's published file has 296 tensors; 49 of them count batches, one a normalisation.
    _, variables = shapes_of(zoo.create("tf_efficientnet_lite0"))
    assert len(jax.tree.leaves(variables)) == 296 - 49


def test_names_of_the_package_are_numbered_through_all_stages():
    rules = efficientnet_pytorch_rules([len(stage) for stage in efficientnet("efficientnet_b1").stages])

    def place(key):
        (match,) = [(rule, found) for rule in rules if (found := re.fullmatch(rule.pattern, key))]
        return match[1].expand(match[0].path)

    # B1 has 2, 3, 3, 4, 4, 5 and 2 blocks.
    assert place("_blocks.0._depthwise_conv.weight") == (
        "params/backbone/stage1_block0/depthwise/conv/kernel"
    )
    assert place("_blocks.4._bn0.bias") == "params/backbone/stage2_block2/expand/norm/bias"
    assert place("_blocks.16._bn1.running_var") == ("batch_stats/backbone/stage6_block0/depthwise/norm/var")
    assert place("_blocks.22._se_expand.weight") == (
        "params/backbone/stage7_block1/attention/expand_conv/kernel"
    )
    assert place("_blocks.22._project_conv.weight") == ("params/backbone/stage7_block1/project/conv/kernel")
    assert place("_bn1.running_mean") == "batch_stats/head_conv/norm/mean"


def test_variants_have_the_constants_of_their_weights():
    def norm(name):
        made = efficientnet(name).norm()
        return made.epsilon, made.momentum

    assert [norm(name) for name in TORCHVISION] == [(1e-5, 0.1)] * 5 + [(1e-3, 0.01)] * 3
    for name in TIMM:
        assert norm(name) == (1e-3, 0.1)
        assert efficientnet(name).padding == "tensorflow"
    # Lite keeps the widths of stem and head, and the depth of the first and last stage.
    lite, full = efficientnet("tf_efficientnet_lite4"), efficientnet("tf_efficientnet_b4")
    assert (lite.stem_features, lite.head_features) == (32, (1280,))
    assert (full.stem_features, full.head_features) == (48, (1792,))
    assert [len(stage) for stage in lite.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [len(stage) for stage in full.stages] == [2, 4, 4, 6, 6, 8, 2]
    assert lite.stages[0][0].activation is nn.relu6
    assert lite.stages[0][0].attention is None


def test_drop_path_grows_from_zero_with_depth():
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, InvertedResidual) and context.method_name == "__call__":
            rates.append(context.module.drop_path_rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        shapes_of(efficientnet("efficientnet_b0", width=0.1))
    # Huang et al. 2016, equation 4, as torchvision counts: the l-th of 16 blocks, from 0.
    np.testing.assert_allclose(rates, [0.2 * index / 16 for index in range(16)])


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown EfficientNet variant 'efficientnet_b8'.*efficientnet_b"):
        efficientnet("efficientnet_b8")
