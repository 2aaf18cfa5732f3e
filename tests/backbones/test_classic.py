"""What holds of NIN, GoogLeNet, Inception-v3, Xception, Darknet and pyramid heads alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES, check_classic, check_full_size, images_of
from oracles.network_cases import check_recording, recorded

from jaxvision import zoo
from jaxvision.core import count_parameters
from jaxvision.weights import BOOKKEEPING, convert, darknet_classifier_rules, nin_classifier_rules
from jaxvision.zoo.classic import ENTRIES

BACKBONES = [name for name in ENTRIES if not name.startswith("spp")]
# torchvision's and timm's (without auxiliary heads), of "googlenet_paper" Caffe's model. The authors of NIN
# and of Darknet-19 give no count: those of their models, layer by layer.
PUBLISHED = {
    "nin": 7_595_176,
    "nin_cifar10": 966_986,
    "googlenet": 6_624_904,
    "googlenet_paper": 6_998_552,
    "inception_v3": 23_834_568,
    "legacy_xception": 22_855_952,
    "xception41": 26_969_560,
    "xception65": 39_916_312,
    "xception71": 42_338_736,
    "darknet19": 20_842_376,
    "darknet53": 41_609_928,
    # VGG-16 without its head, 14,714,688, and layers of 50 * 512, 4096 and 4096 inputs.
    "spp_vgg16": 14_714_688 + (50 * 512 + 1) * 4096 + 4097 * 4096 + 4097 * 1000,
}
# Height of each feature map: at the paper's size, as its table or figure has it, and at an odd one.
PAPER_SIZES = {
    "nin": (224, [54, 27, 13, 6]),
    "nin_cifar10": (32, [32, 16, 8]),
    "googlenet": (224, [112, 56, 28, 14, 7]),
    "googlenet_paper": (224, [112, 56, 28, 14, 7]),
    "inception_v3": (299, [147, 71, 35, 17, 8]),
    "legacy_xception": (299, [147, 74, 37, 19, 10]),
    "darknet19": (224, [112, 56, 28, 14, 7]),
    "darknet53": (256, [128, 64, 32, 16, 8]),
    **dict.fromkeys(["xception41", "xception65", "xception71"], (299, [150, 75, 38, 19, 10])),
}
ODD_SIZES = {
    "nin": (101, [23, 11, 5, 2]),
    "nin_cifar10": (33, [33, 16, 8]),
    "googlenet": (101, [51, 25, 12, 6, 3]),
    "googlenet_paper": (101, [51, 25, 12, 6, 3]),
    "inception_v3": (139, [67, 31, 15, 7, 3]),
    "legacy_xception": (101, [48, 24, 12, 6, 3]),
    "darknet19": (101, [50, 25, 12, 6, 3]),
    "darknet53": (101, [51, 26, 13, 7, 4]),
    **dict.fromkeys(["xception41", "xception65", "xception71"], (101, [51, 26, 13, 7, 4])),
}
CHANNELS = {
    "nin": [96, 256, 384, 1024],
    "nin_cifar10": [96, 192, 192],
    "googlenet": [64, 192, 480, 832, 1024],
    "googlenet_paper": [64, 192, 480, 832, 1024],
    "inception_v3": [64, 192, 288, 768, 2048],
    "legacy_xception": [64, 128, 256, 728, 2048],
    "darknet19": [64, 128, 256, 512, 1024],
    "darknet53": [64, 128, 256, 512, 1024],
    **{name: [128, 256, 728, 1024, 2048] for name in ["xception41", "xception65", "xception71"]},
}
SLOW = ("googlenet", "inception", "xception", "aligned", "darknet19")
RECORDED = [pytest.param(name, marks=pytest.mark.slow if name.startswith(SLOW) else ()) for name in CASES]


def shapes_of(model, shape):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


QUICK = ("nin", "nin_cifar10", "googlenet", "legacy_xception", "darknet19", "spp_vgg16")


def big(names):
    """Those that are deep, or like another of their family, run with the slow tests."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", big(ENTRIES))
def test_parameter_count_is_the_published_one(name):
    _, variables = shapes_of(zoo.create(name), (1, 96, 96, 3))
    assert count_parameters(variables["params"]) == PUBLISHED[name]


@pytest.mark.parametrize("name", big(BACKBONES))
@pytest.mark.parametrize(
    "table", [pytest.param(PAPER_SIZES, marks=pytest.mark.slow), ODD_SIZES], ids=["paper", "odd"]
)
def test_features_have_the_declared_strides_and_channels(name, table):
    model, (size, sizes) = zoo.create(name).backbone, table[name]
    first = 2 if name == "nin" else 1
    names = [f"c{level}" for level in range(first, first + len(sizes))]
    halvings = 1 if name == "nin_cifar10" else 0  # it begins at the size of the image
    assert model.strides == {key: 2 ** (int(key[1:]) - halvings) for key in names}
    assert model.channels == dict(zip(names, CHANNELS[name], strict=True))
    features, _ = shapes_of(model, (2, size, size + 32, 3))
    assert list(features) == names
    for key, feature, height in zip(names, features.values(), sizes, strict=True):
        # 32 pixels more are 32 / stride more.
        assert feature.shape == (2, height, height + 32 // model.strides[key], model.channels[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_equals_recorded_torch(name):
    check_classic(name, recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_classic import classic_outputs

    check_recording(name, classic_outputs(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in ENTRIES if ENTRIES[name].rules is not None])
def test_published_weights_have_one_place_each(name):
    torch = pytest.importorskip("torch")
    from oracles.torch_classic import published

    with torch.device("meta"):
        theirs = published(name)
    source = {key: np.zeros(value.shape, np.float32) for key, value in theirs.state_dict().items()}
    entry, (_, variables) = ENTRIES[name], shapes_of(zoo.create(name), (1, 96, 96, 3))
    convert(source, entry.rules(), variables, ignore=(*BOOKKEEPING, *entry.ignore))
    count = sum(
        value.numel() for key, value in theirs.named_parameters() if not key.startswith(("aux", "Aux"))
    )
    assert count == PUBLISHED[name]


FEATURES = {
    "nin": {"c2": "relu_cccp2", "c3": "relu_cccp4", "c4": "relu_cccp6", "c5": "relu_cccp7-1024"},
    "nin_cifar10": {"c1": "relu_cccp2", "c2": "relu_cccp4", "c3": "relu_cccp5"},
    "googlenet": {
        "c1": "conv1", "c2": "conv3", "c3": "inception3b", "c4": "inception4e", "c5": "inception5b",
    },
    "inception_v3": {
        "c1": "Conv2d_2b_3x3", "c2": "Conv2d_4a_3x3", "c3": "Mixed_5d", "c4": "Mixed_6e", "c5": "Mixed_7c",
    },
    "darknet19": {
        "c1": "stages.0.conv_down", "c2": "stages.1.blocks.0", "c3": "stages.2.blocks.0",
        "c4": "stages.3.blocks.1", "c5": "stages.4.blocks.1",
    },
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", BACKBONES)
def test_full_size_equals_live_torch(name):
    pytest.importorskip("torch")
    from oracles.torch_classic import NIN, Darknet19, full_size_outputs, googlenet_model, published

    made = {
        "nin": lambda: NIN(NIN.IMAGENET, 1000),
        "nin_cifar10": lambda: NIN(NIN.CIFAR10, 10),
        "googlenet_paper": lambda: googlenet_model(paper=True),
        "darknet19": Darknet19,
    }
    theirs = made[name]() if name in made else published(name)
    taps = FEATURES.get(name.removesuffix("_paper"))
    if taps is None:  # timm's, which names its own features
        infos = [info for info in theirs.feature_info if info["reduction"] > 1]
        taps = {f"c{level}": info["module"] for level, info in enumerate(infos, start=1)}
    size = (107, 139) if name == "inception_v3" else (75, 64)
    images = np.random.default_rng(0).standard_normal((1, *size, 3)).astype(np.float32)
    images *= 100 if name == "googlenet_paper" else 1  # for local response normalisation to change something
    stages = {"nin": 4, "nin_cifar10": 3}
    if name in stages:
        rules = nin_classifier_rules(stages[name])
    elif name == "darknet19":
        rules = darknet_classifier_rules()
    else:
        rules = (ENTRIES[name].rules or ENTRIES["googlenet"].rules)()
    expected = full_size_outputs(theirs, images, taps)
    check_full_size(zoo.create(name), rules, images, expected, ignore=ENTRIES[name].ignore)


@pytest.mark.parametrize(
    "name", [name for name in CASES if not name.endswith(("_aux", "_paper", "_size", "_dilated"))]
)
def test_any_batch_and_dtype(name):
    case = CASES[name]
    model = case.model.clone(backbone=case.model.backbone.clone(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    logits, variables = shapes_of(model, (0, *case.shape[1:]))
    assert logits.shape == (0, 3)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    features, _ = shapes_of(model.backbone, case.shape)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("name", ["nin", "darknet53", "spp"])
def test_second_call_does_not_retrace_and_vmap(name):
    case, traces = CASES[name], []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return case.model.apply(variables, images, train=False)

    images = images_of(case)
    target = shapes_of(case.model, case.shape)[1]
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    call = jax.vmap(functools.partial(case.model.apply, train=False), (None, 0))
    batches = jax.ShapeDtypeStruct((2, *case.shape), jnp.float32)
    assert jax.eval_shape(call, target, batches).shape == (2, case.shape[0], 3)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("nin", 39),
        ("nin_cifar10", 4),
        ("googlenet", 15),
        ("googlenet_paper", 31),
        ("inception_v3", 75),
        ("xception", 7),
        ("darknet19", 32),
    ],
)
def test_smallest_image(name, least):
    model = CASES[name].model
    logits, _ = shapes_of(model, (1, least, least + 1, 3))
    assert logits.shape == (1, 3)
    message = rf"images: expected at least {least} pixels high and wide, got \[1, {least}, {least - 1}, 3\]"
    with pytest.raises(ValueError, match=message):
        shapes_of(model, (1, least, least - 1, 3))


@pytest.mark.parametrize("name", ["darknet53", "aligned_xception"])
def test_one_pixel_is_enough(name):
    assert shapes_of(CASES[name].model, (1, 1, 1, 3))[0].shape == (1, 3)


@pytest.mark.parametrize(
    "name", ["nin", "googlenet", "inception_v3", "xception", "aligned_xception", "darknet53"]
)
def test_wrong_images_raise(name):
    model = CASES[name].model
    with pytest.raises(ValueError, match=r"images: expected \[N, H, W, C\], got \[96, 96, 3\]"):
        shapes_of(model, (96, 96, 3))
    images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.uint8)
    with pytest.raises(ValueError, match="images: expected a floating dtype, got uint8"):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in ("nin", "nin_cifar10")])
def test_zoo_sets_the_axis_of_every_batch_norm(name):
    if name == "googlenet_paper":
        assert zoo.create(name, axis_name="data").backbone.norm is None
        return
    norm = zoo.create(name, axis_name="data").backbone.norm()
    assert norm.axis_name == "data"
    # The others keep PyTorch's default.
    assert norm.epsilon == (1e-5 if name.startswith(("darknet", "legacy")) else 1e-3)
