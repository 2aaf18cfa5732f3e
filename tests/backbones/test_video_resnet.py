import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import (
    assert_close,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_state_dict,
)
from oracles.video_cases import CASES, check_against, names_of

from jaxvision import zoo
from jaxvision.backbones import VIDEO_RESNET_VARIANTS, PooledClassifier, VideoResNet, video_resnet
from jaxvision.backbones.video_resnet import VideoBlock, factorized_width
from jaxvision.inspect import summarize, total
from jaxvision.layers import BatchNorm
from jaxvision.weights import (
    BOOKKEEPING,
    convert,
    video_resnet_backbone_rules,
    video_resnet_classifier_rules,
)

# torchvision's parameters of the weights KINETICS400_V1, and billions of products for a clip of 16x112x112.
PUBLISHED = {
    "r3d_18": (33_371_472, 40.697),
    "mc3_18": (11_695_440, 43.343),
    "r2plus1d_18": (31_505_325, 40.519),
}


def shapes_of(model, shape=(1, 4, 32, 32, 3)):
    clips = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), clips)


def narrow(*convolutions, **fields):
    kinds = convolutions or ("3d", "2d", "2+1d", "3d")
    return VideoResNet(
        **{
            "convolutions": kinds,
            "blocks": (1, 1, 1, 1),
            "features": (4, 4, 6, 8),
            "stem_features": 4,
            **fields,
        }
    )


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=() if name == "r3d_18" else pytest.mark.slow)
        for name in sorted(VIDEO_RESNET_VARIANTS)
    ],
)
def test_parameters_and_products_are_the_published_ones(variant):
    model = zoo.create(variant)
    clips = jax.ShapeDtypeStruct((1, *zoo.ENTRIES[variant].preprocessing.input_shape), jnp.float32)
    whole = total(summarize(model, clips, train=False))
    assert model.num_classes == 400
    assert whole.parameters == PUBLISHED[variant][0]
    assert whole.macs / 1e9 == pytest.approx(PUBLISHED[variant][1], abs=5e-4)


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(VIDEO_RESNET_VARIANTS))
def test_torchvision_has_the_same_parameters_and_preprocessing(variant):
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = torchvision.models.get_model(variant, weights=None)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[variant][0]
    source = {key: np.zeros(value.shape, np.float32) for key, value in theirs.state_dict().items()}
    convert(source, video_resnet_classifier_rules(), shapes_of(zoo.create(variant))[1], ignore=BOOKKEEPING)
    weights = torchvision.models.get_model_weights(variant).DEFAULT
    assert weights.meta["_ops"] == PUBLISHED[variant][1]
    transform, ours = weights.transforms(), zoo.ENTRIES[variant].preprocessing
    assert (list(ours.size), list(ours.resize)) == (transform.crop_size, transform.resize_size)
    assert (list(ours.mean), list(ours.std)) == (transform.mean, transform.std)
    assert ours.interpolation == transform.interpolation.value
    # Their transform takes a clip that antialiasing would change.
    rng = np.random.default_rng(0)
    clip = torch.from_numpy(rng.integers(0, 256, (2, 3, 256, 342), np.uint8))
    expected = torch.nn.functional.interpolate(
        clip.float(), ours.resize, mode=ours.interpolation, antialias=ours.antialias
    )
    crop = expected.round()[:, :, 8:120, 30:142] / 255
    theirs = transform(clip).permute(1, 2, 3, 0)  # [T, H, W, C]
    normal = (crop.permute(0, 2, 3, 1).numpy() - ours.mean) / ours.std
    assert np.abs(normal - theirs.numpy()).max() < 0.03  # a grey level in rounding is 0.02


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=() if name == "r3d_18" else pytest.mark.slow)
        for name in sorted(VIDEO_RESNET_VARIANTS)
    ],
)
def test_features_have_the_declared_strides_and_channels(variant):
    model = video_resnet(variant)
    features, _ = shapes_of(model, (2, 9, 97, 64, 3))
    assert tuple(model.channels.values()) == (64, 64, 128, 256, 512)
    assert tuple(model.strides.values()) == (2, 2, 4, 8, 16)
    assert tuple(model.temporal_strides.values()) == ((1,) * 5 if variant == "mc3_18" else (1, 1, 2, 4, 8))
    assert list(features) == list(model.strides) == list(model.channels) == list(model.temporal_strides)
    for name, feature in features.items():
        stride, time = model.strides[name], model.temporal_strides[name]
        assert feature.shape == (2, -(-9 // time), -(-97 // stride), 64 // stride, model.channels[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of("video_resnet"))
def test_equals_recorded_torchvision(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", names_of("video_resnet"))
def test_recording_is_what_torchvision_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_video import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(VIDEO_RESNET_VARIANTS))
def test_full_size_equals_live_torchvision(variant):
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    clips = np.random.default_rng(0).standard_normal((2, 5, 33, 48, 3)).astype(np.float32)
    theirs = torchvision.models.get_model(variant, weights=None).eval()
    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    theirs.double()
    expected = {}
    with torch.no_grad():
        x = torch.from_numpy(clips).double().permute(0, 4, 1, 2, 3)
        for name, part in zip(("c1", "c2", "c3", "c4", "c5"), theirs.children(), strict=False):
            x = part(x)
            expected[name] = x.permute(0, 2, 3, 4, 1).numpy()
        expected["logits"] = theirs.fc(theirs.avgpool(x).flatten(1)).numpy()
    ours = zoo.create(variant)
    target = shapes_of(ours, clips.shape)[1]
    variables = convert(source, video_resnet_classifier_rules(), target, ignore=BOOKKEEPING)
    actual = in_double(jax.jit(features_and_logits(ours)), variables, clips)
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert_close(name, value, expected[name], relative=1e-6)


def test_backbone_rules_fill_a_backbone_alone():
    case, shapes = CASES["video_2plus1d"], recorded("video_2plus1d")["shapes"]
    source = {key: value for key, value in seeded_state_dict(shapes).items() if not key.startswith("fc.")}
    target = shapes_of(VideoResNet(**case.fields))[1]
    variables = convert(source, video_resnet_backbone_rules(module=""), target, ignore=BOOKKEEPING)
    params = variables["params"]
    temporal = params["stage2_block0"]["conv2"]["temporal"]["kernel"]  # [3, 1, 1, I, O]
    np.testing.assert_array_equal(
        temporal[:, 0, 0, :, 1], source["layer2.0.conv2.0.3.weight"][1, :, :, 0, 0].T
    )
    kernel = params["stem_temporal_conv"]["kernel"]
    np.testing.assert_array_equal(kernel, source["stem.3.weight"].transpose(2, 3, 4, 1, 0))


def test_load_fills_a_network_for_clips(tmp_path):
    source = seeded_state_dict(recorded("video_mixed")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    fields = {name: CASES["video_mixed"].fields[name] for name in ("blocks", "features", "stem_features")}
    model, variables, *_ = zoo.load(
        "mc3_18", weights=tmp_path / "weights.npz", num_classes=3, backbone=fields
    )
    assert model.backbone.convolutions == ("3d", "2d", "2d", "2d")
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["fc.weight"].T)
    with pytest.raises(ValueError, match=r"'layer2\.0\.conv1\.0\.weight'.* gives \[1, 3, 3, 4, 6\]"):
        zoo.load("r3d_18", weights=tmp_path / "weights.npz", num_classes=3, backbone=fields)


def test_a_factorized_convolution_has_the_weights_of_a_whole_one():
    # Tran et al. 2018, section 3.5: "approximately equal", never more.
    for inputs, features in ((64, 64), (64, 128), (256, 512)):
        middle = factorized_width(inputs, features)
        each, whole = 9 * inputs + 3 * features, 27 * inputs * features
        assert whole - each < middle * each <= whole
    params = shapes_of(VideoBlock(6, "2+1d"), (1, 3, 5, 5, 4))[1]["params"]
    middle = factorized_width(4, 6)
    assert params["conv1"]["spatial"]["kernel"].shape == (1, 3, 3, 4, middle)
    assert params["conv1"]["temporal"]["kernel"].shape == (3, 1, 1, middle, 6)
    assert params["conv2"]["spatial"]["kernel"].shape == (1, 3, 3, 6, middle)


def test_a_2d_stage_keeps_frames_apart():
    model = narrow("2d", "2d", "2d", "2d")
    clips = jax.random.normal(jax.random.key(0), (1, 6, 20, 20, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(1), clips)
    apply = jax.jit(functools.partial(model.apply, train=False))
    before, after = apply(variables, clips), apply(variables, clips.at[:, 0].add(1.0))
    # The stem's kernel of 3 frames is all that mixes them.
    changed = np.abs(before["c5"] - after["c5"]).max((0, 2, 3, 4)) > 0
    np.testing.assert_array_equal(changed, [True, True, False, False, False, False])


def test_options_reach_every_layer():
    norm = functools.partial(BatchNorm, axis_name="data")
    features, variables = shapes_of(narrow(norm=norm, dtype=jnp.bfloat16, stem_middle_features=5))
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert variables["params"]["stem_conv"]["kernel"].shape == (1, 7, 7, 3, 5)
    classifier = zoo.create(
        "r2plus1d_18", axis_name="data", num_classes=5, backbone={"features": (4, 4, 4, 4)}
    )
    assert classifier.backbone.norm().axis_name == "data"
    assert classifier.backbone.stem_middle_features == 45
    clips = jax.ShapeDtypeStruct((2, 1, 3, 8, 8, 3), jnp.float32)  # two devices
    one = jax.ShapeDtypeStruct(clips.shape[1:], clips.dtype)
    small = narrow("2+1d", "3d", "2d", "3d", norm=norm)
    variables = jax.eval_shape(functools.partial(small.init, train=False), jax.random.key(0), one)
    step = functools.partial(small.apply, train=True, mutable=["batch_stats"])
    mapped = jax.vmap(step, in_axes=(None, 0), axis_name="data")
    assert jax.eval_shape(mapped, variables, clips)[0]["c5"].shape == (2, 1, 1, 1, 1, 8)
    with pytest.raises(NameError, match="data"):  # every norm asks for the axis
        jax.eval_shape(step, variables, one)


def test_second_call_does_not_retrace_and_any_size_passes():
    model, traces = PooledClassifier(narrow(), 3), []

    @jax.jit
    def apply(variables, clips):
        traces.append(clips.shape)
        return model.apply(variables, clips, train=False)

    logits, target = shapes_of(model, (1, 1, 1, 1, 3))
    assert logits.shape == (1, 3)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    clips = np.ones((2, 3, 20, 17, 3), np.float32)
    apply(variables, clips)
    apply(variables, 2 * clips)
    assert len(traces) == 1
    assert shapes_of(model, (0, 3, 32, 32, 3))[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("fields", "clips", "message"),
    [
        ({}, jnp.zeros((1, 64, 64, 3)), r"clips: expected \[N, T, H, W, C\], got \[1, 64, 64, 3\]"),
        ({}, jnp.zeros((1, 2, 8, 8, 3), jnp.uint8), "clips: expected a floating dtype, got uint8"),
        ({}, jnp.zeros((1, 0, 8, 8, 3)), r"at least one frame and one pixel, got \[1, 0, 8, 8, 3\]"),
        ({"blocks": (1, 1)}, jnp.zeros((1, 2, 8, 8, 3)), "expected one entry a stage in each"),
        ({"convolutions": ("3d", "4d")}, jnp.zeros((1, 2, 8, 8, 3)), r"expected kinds .* got \['4d'\]"),
    ],
)
def test_wrong_arguments_raise(fields, clips, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), clips)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown ResNet variant for clips 'r3d18'.*r3d_18"):
        video_resnet("r3d18")
