"""MobileNet V1, V2 and V3 against the papers, torchvision and timm."""

import functools

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
from jaxvision.backbones import (
    MOBILENET_V1_VARIANTS,
    MOBILENET_V2_VARIANTS,
    MOBILENET_V3_VARIANTS,
    MobileBackbone,
    MobileNetV1,
    MobileNetV2,
    MobileNetV3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
)
from jaxvision.core import count_parameters
from jaxvision.weights import BOOKKEEPING, convert, efficientnet_timm_rules

# V1: trainable parameters of Keras's MobileNet at these widths, and timm's for 100, 100h and 125; Howard et
# al. 2017, table 6, give 0.5, 1.3, 2.6 and 4.2 million. V2 and V3: torchvision's num_params; mobilenetv2_*:
# timm's.
PUBLISHED = {
    "mobilenetv1_025": 470_072,
    "mobilenetv1_050": 1_331_592,
    "mobilenetv1_075": 2_585_560,
    "mobilenetv1_100": 4_231_976,
    "mobilenetv1_100h": 5_282_600,
    "mobilenetv1_125": 6_270_840,
    "mobilenet_v2": 3_504_872,
    "mobilenetv2_035": 1_677_128,
    "mobilenetv2_050": 1_968_680,
    "mobilenetv2_075": 2_636_424,
    "mobilenetv2_100": 3_504_872,
    "mobilenetv2_110d": 4_516_520,
    "mobilenetv2_120d": 5_831_144,
    "mobilenetv2_140": 6_108_776,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
}
# Howard et al. 2017, table 1, times the width; timm's feature_info for V2; for V3 the rows of Howard et al.
# 2019, tables 1 and 2, in front of each stride.
CHANNELS = {
    "mobilenetv1_025": (16, 32, 64, 128, 256),
    "mobilenetv1_050": (32, 64, 128, 256, 512),
    "mobilenetv1_075": (48, 96, 192, 384, 768),
    "mobilenetv1_100": (64, 128, 256, 512, 1024),
    "mobilenetv1_100h": (64, 128, 256, 512, 1024),
    "mobilenetv1_125": (80, 160, 320, 640, 1280),
    "mobilenet_v2": (16, 24, 32, 96, 320),
    "mobilenetv2_035": (8, 8, 16, 32, 112),
    "mobilenetv2_050": (8, 16, 16, 48, 160),
    "mobilenetv2_075": (16, 24, 24, 72, 240),
    "mobilenetv2_100": (16, 24, 32, 96, 320),
    "mobilenetv2_110d": (16, 24, 32, 104, 352),
    "mobilenetv2_120d": (24, 32, 40, 112, 384),
    "mobilenetv2_140": (24, 32, 48, 136, 448),
    "mobilenet_v3_large": (16, 24, 40, 112, 160),
    "mobilenet_v3_small": (16, 16, 24, 48, 96),
}
PAPERS_ONLY = ("mobilenetv1_025", "mobilenetv1_050", "mobilenetv1_075")
IN_TIMM = [name for name in PUBLISHED if "_v" not in name and name not in PAPERS_ONLY]
TORCHVISION_LEVELS = {
    "mobilenet_v2": [f"features.{index}" for index in (1, 3, 6, 13, 17)],
    "mobilenet_v3_large": [f"features.{index}" for index in (1, 3, 6, 12, 15)],
    "mobilenet_v3_small": [f"features.{index}" for index in (0, 1, 3, 8, 11)],
}
TIMM_LEVELS = {
    "mobilenetv1": [f"blocks.{index}" for index in range(5)],
    "mobilenetv2": [f"blocks.{index}" for index in (0, 1, 2, 4, 6)],
}
LIVE = [*(("torchvision", name) for name in TORCHVISION_LEVELS), *(("timm", name) for name in IN_TIMM)]


def test_the_zoo_has_every_variant():
    variants = {*MOBILENET_V1_VARIANTS, *MOBILENET_V2_VARIANTS, *MOBILENET_V3_VARIANTS}
    assert {*variants, "mobilenetv1_100h"} == set(PUBLISHED)
    assert {name for name in zoo.names() if name.startswith("mobilenet")} == set(PUBLISHED)


QUICK = ("mobilenetv1_100", "mobilenet_v2", "mobilenet_v3_small")  # the others differ in widths


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PUBLISHED]
)
def test_published_parameters_and_declared_features(name):
    model = zoo.create(name)
    run = functools.partial(
        model.init_with_output,
        train=False,
        capture_intermediates=lambda module, method: (
            method == "__call__" and isinstance(module, MobileBackbone)
        ),
    )
    images = jax.ShapeDtypeStruct((2, 97, 160, 3), np.float32)
    logits, variables = jax.eval_shape(run, jax.random.key(0), images)
    assert logits.shape == (2, 1000)
    assert count_parameters(variables["params"]) == PUBLISHED[name]
    body = model.backbone
    assert tuple(body.channels.values()) == CHANNELS[name]
    assert body.strides == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32}
    features = variables["intermediates"]["backbone"]["__call__"][0]
    assert sorted(features) == ["c1", "c2", "c3", "c4", "c5"]
    for level, feature in features.items():
        stride = body.strides[level]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, body.channels[level])


RECORDED = [*names_of(MobileNetV1), *names_of(MobileNetV2), *names_of(MobileNetV3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_equals_recorded_pytorch(name):
    case = CASES[name]
    check_model(our_model(case), rules_for(case), seeded_images(case), recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", RECORDED)
def test_recording_is_what_pytorch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_mobile import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize(("library", "name"), LIVE)
def test_full_size_equals_live(library, name):
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_outputs, live_state

    source, count = live_state(library, name)
    assert count == PUBLISHED[name]
    levels = TORCHVISION_LEVELS[name] if library == "torchvision" else TIMM_LEVELS[name[:11]]
    images = np.random.default_rng(0).standard_normal((2, 75, 64, 3)).astype(np.float32)
    source, expected = live_outputs(library, name, levels, images)
    ours = zoo.create(name)
    variables = convert(source, zoo.ENTRIES[name].rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)
    for level, actual in in_double(jax.jit(features_and_logits(ours)), variables, images).items():
        assert_close(level, actual, expected[level], relative=1e-6)


@pytest.mark.parity
def test_mobilenet_v2_takes_timms_names_too():
    pytest.importorskip("timm")
    from oracles.torch_mobile import live_state

    assert zoo.ENTRIES["mobilenet_v2"].other_rules == (efficientnet_timm_rules,)
    source, _ = live_state("timm", "mobilenetv2_100")
    convert(source, efficientnet_timm_rules(), shapes_of(zoo.create("mobilenet_v2"))[1], ignore=BOOKKEEPING)


def test_blocks_of_mobilenet_v3_are_the_papers():
    large = [block for stage in mobilenet_v3("mobilenet_v3_large").stages for block in stage]
    # Howard et al. 2019, table 1: bnecks with SE, with hard swish, with kernel 5, with stride 2.
    assert [index for index, block in enumerate(large) if block.attention] == [3, 4, 5, 10, 11, 12, 13, 14]
    assert [index for index, block in enumerate(large) if block.activation is nn.hard_swish] == list(
        range(6, 15)
    )
    assert [index for index, block in enumerate(large) if block.kernel_size == 5] == [3, 4, 5, 12, 13, 14]
    assert [index for index, block in enumerate(large) if block.strides == 2] == [1, 3, 6, 12]
    assert large[0].parts == ("depthwise", "project")
    assert large[3].parts == ("expand", "depthwise", "attention", "project")
    assert mobilenet_v3("mobilenet_v3_large").head_features == (960, 1280)
    assert mobilenet_v3("mobilenet_v3_small").head_features == (576, 1024)
    assert (large[0].inputs, mobilenet_v3("mobilenet_v3_large").norm().momentum) == (16, 0.01)


@pytest.mark.parametrize(
    ("build", "name", "message"),
    [
        (mobilenet_v1, "mobilenetv1_10", r"unknown MobileNet V1 variant 'mobilenetv1_10'.*mobilenetv1_100"),
        (mobilenet_v2, "mobilenet_v4", r"unknown MobileNetV2 variant 'mobilenet_v4'.*mobilenet_v2"),
        (mobilenet_v3, "mobilenet_v3", r"unknown MobileNetV3 variant 'mobilenet_v3'.*mobilenet_v3_large"),
    ],
)
def test_unknown_variant_names_the_nearest(build, name, message):
    with pytest.raises(ValueError, match=message):
        build(name)
