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
from jaxvision.backbones import C3D, C3D_VARIANTS, C3DClassifier, c3d
from jaxvision.core import count_parameters
from jaxvision.weights import c3d_classifier_rules, convert


def shapes_of(model, shape=(1, 16, 112, 112, 3)):
    clips = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), clips)


def narrow(**fields):
    return C3D(**{"convolutions": (1, 1, 1, 1, 1), "features": (2, 2, 2, 3, 3), **fields})


def test_parameter_count_is_the_published_one():
    # 79,991,015 is the PyTorch port's own; with the 101 classes of UCF101 the literature has 78.4 million.
    assert list(C3D_VARIANTS) == ["c3d"]
    model = zoo.create("c3d")
    assert model.num_classes == 487
    assert count_parameters(shapes_of(model)[1]["params"]) == 79_991_015
    fine_tuned = count_parameters(shapes_of(zoo.create("c3d", num_classes=101))[1]["params"])
    assert round(fine_tuned / 1e6, 1) == 78.4
    # Section 3.1: the nets of its search, on UCF101, have one convolution a stage and 2048 hidden units, and
    # 17.5 million parameters.
    small = {"convolutions": (1,) * 5, "features": (64, 128, 256, 256, 256)}
    search = C3DClassifier(C3D(**small), 101, hidden=2048)
    assert count_parameters(shapes_of(search)[1]["params"]) == pytest.approx(17.5e6, rel=0.005)


@pytest.mark.parity
def test_the_port_has_the_same_parameters():
    torch = pytest.importorskip("torch")
    from oracles.torch_video import C3D as TorchC3D

    with torch.device("meta"):
        theirs = TorchC3D()
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 79_991_015
    source = {key: np.zeros(value.shape, np.float32) for key, value in theirs.state_dict().items()}
    assert {"conv1.weight", "conv3a.weight", "conv5b.bias", "fc6.weight", "fc8.bias"} <= set(source)
    convert(source, c3d_classifier_rules(), shapes_of(zoo.create("c3d"))[1])


@pytest.mark.parametrize(
    ("shape", "last"), [((2, 16, 112, 112, 3), (1, 4, 4)), ((1, 35, 97, 64, 3), (2, 4, 3))]
)
def test_features_have_the_declared_strides_and_channels(shape, last):
    model = c3d("c3d")
    features, _ = shapes_of(model, shape)
    assert tuple(model.channels.values()) == (64, 128, 256, 512, 512)
    assert tuple(model.strides.values()) == (2, 4, 8, 16, 32)
    assert tuple(model.temporal_strides.values()) == (1, 2, 4, 8, 16)
    for name in ("c1", "c2", "c3", "c4"):
        stride, time = model.strides[name], model.temporal_strides[name]
        size = (shape[1] // time, shape[2] // stride, shape[3] // stride)
        assert features[name].shape == (shape[0], *size, model.channels[name])
    assert features["c5"].shape == (shape[0], *last, 512)


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of("c3d"))
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", names_of("c3d"))
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_video import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


@pytest.mark.parity
def test_full_size_equals_live_torch():
    torch = pytest.importorskip("torch")
    from oracles.torch_video import C3D as TorchC3D

    clips = np.random.default_rng(0).standard_normal((1, 16, 32, 48, 3)).astype(np.float32)
    theirs = TorchC3D().eval()
    source = seeded_state_dict({key: tuple(value.shape) for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    with torch.no_grad():
        x = torch.from_numpy(clips).double().permute(0, 4, 1, 2, 3)
        maps, logits = theirs.double().features(x), theirs(x)
    ours = zoo.create("c3d")
    variables = convert(source, c3d_classifier_rules(), shapes_of(ours, clips.shape)[1])
    features = in_double(jax.jit(features_and_logits(ours)), variables, clips)
    assert_close("logits", features.pop("logits"), logits.numpy(), relative=1e-6)
    for name, wanted in zip(sorted(features), maps, strict=True):
        assert_close(name, features[name], wanted.permute(0, 2, 3, 4, 1).numpy(), relative=1e-6)


@pytest.mark.slow
def test_parameters_start_as_in_the_authors_files():
    model = C3DClassifier(narrow(features=(8, 8, 8, 8, 8)), 5, hidden=64)
    clips = jnp.zeros((1, 16, 16, 16, 3))
    params = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), clips)["params"]
    body = params["backbone"]
    assert np.std(body["stage2_conv1"]["kernel"]) == pytest.approx(0.01, rel=0.1)
    assert np.std(params["fc6"]["kernel"]) == pytest.approx(0.005, rel=0.1)
    assert np.std(params["head"]["kernel"]) == pytest.approx(0.01, rel=0.2)
    assert (
        {float(x) for x in body["stage1_conv1"]["bias"]}
        == {0.0}
        == {float(x) for x in params["head"]["bias"]}
    )
    assert (
        {float(x) for x in body["stage5_conv1"]["bias"]} == {1.0} == {float(x) for x in params["fc7"]["bias"]}
    )


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model = C3DClassifier(narrow(), 3, hidden=16)
    clips = jax.random.normal(jax.random.key(0), (1, 16, 16, 16, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(1), clips)
    # The features are constants of 1e-9 at the start: the hidden layers decide.
    train = jax.jit(lambda key: model.apply(variables, clips, train=True, rngs={"dropout": key}))
    first, second = train(jax.random.key(2)), train(jax.random.key(3))
    assert np.abs(first - second).max() > 1e-3
    test = jax.jit(functools.partial(model.apply, train=False))
    np.testing.assert_array_equal(test(variables, clips), test(variables, clips))


def test_second_call_does_not_retrace_and_dtypes_are_kept():
    model, traces = C3DClassifier(narrow(dtype=jnp.bfloat16), 3, hidden=4, dtype=jnp.bfloat16), []

    @jax.jit
    def apply(variables, clips):
        traces.append(clips.shape)
        return model.apply(variables, clips, train=False)

    logits, target = shapes_of(model, (0, 16, 16, 16, 3))
    assert (logits.shape, logits.dtype) == ((0, 3), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(target)} == {jnp.dtype("float32")}
    assert shapes_of(model.backbone)[0]["c5"].dtype == jnp.bfloat16
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    clips = np.ones((2, 16, 20, 17, 3), np.float32)
    apply(variables, clips)
    apply(variables, 2 * clips)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({}, (16, 112, 112, 3), r"clips: expected \[N, T, H, W, C\], got \[16, 112, 112, 3\]"),
        ({}, (1, 15, 112, 112, 3), r"at least 16 frames of 16x16 pixels, got \[1, 15, 112, 112, 3\]"),
        ({}, (1, 16, 112, 15, 3), r"at least 16 frames of 16x16 pixels, got \[1, 16, 112, 15, 3\]"),
        ({"last_padding": ((0, 0),) * 3}, (1, 16, 31, 112, 3), "at least 16 frames of 32x32 pixels"),
        ({"last_padding": ((1, 0), (0, 0), (0, 1))}, (1, 7, 32, 16, 3), "at least 8 frames of 32x16 pixels"),
    ],
)
def test_wrong_arguments_raise(fields, shape, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(narrow(**fields), shape)


def test_the_smallest_clips_pass():
    assert shapes_of(narrow(), (1, 16, 16, 16, 3))[0]["c5"].shape == (1, 1, 1, 1, 3)
    unpadded = narrow(last_padding=((0, 0),) * 3)
    assert shapes_of(unpadded, (1, 16, 32, 32, 3))[0]["c5"].shape == (1, 1, 1, 1, 3)


def test_integers_and_unknown_variants_raise():
    with pytest.raises(ValueError, match="clips: expected a floating dtype, got uint8"):
        jax.eval_shape(
            functools.partial(narrow().init, train=False),
            jax.random.key(0),
            jnp.zeros((1, 16, 16, 16, 3), jnp.uint8),
        )
    with pytest.raises(ValueError, match=r"unknown C3D variant 'c3'.*c3d"):
        c3d("c3")


def test_unequal_stages_are_named():
    with pytest.raises(ValueError, match="convolutions and features: expected one number a stage"):
        shapes_of(narrow(features=(2, 2)))
