import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import check_recording, recorded
from oracles.video_cases import CASES, check_against, names_of, seeded_clips

from jaxvision import zoo
from jaxvision.backbones import JI_3DCNN_VARIANTS, Ji3DCNN, ji_3dcnn
from jaxvision.core import count_parameters, flatten_paths


def shapes_of(model, shape=(1, 7, 60, 40, 3)):
    clips = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), clips)


def test_parameter_count_is_the_papers():
    params = shapes_of(zoo.create("ji_3dcnn"))[1]["params"]
    # The paper has 295,458, in which each of the 128 output maps of C6 has a bias for each of its 78 inputs.
    assert count_parameters(params) == 295_458 - 128 * 77
    layers = {"conv1": 1480, "pool1": 92, "conv2": 3810, "pool2": 156, "conv3": 128 * (78 * 28 + 1)}
    for name, count in layers.items():
        leaves = flatten_paths({key: value for key, value in params["backbone"].items() if name in key})
        assert sum(leaf.size for leaf in leaves.values()) == count
    assert params["head"].keys() == {"kernel"}


def test_parameter_count_on_kth():
    # Of 43 hard-wired maps 33 moments are left, of those 23; C6 is 4x6 and there are 6 actions.
    expected = 10 * (3 * 7 * 9 + 1) + 2 * 2 * 33 + 30 * (3 * 7 * 7 + 1) + 2 * 6 * 23
    expected += 128 * (6 * 23 * 4 * 6 + 1) + 128 * 6
    model = zoo.create("ji_3dcnn_kth")
    assert count_parameters(shapes_of(model, (1, 9, 60, 80, 1))[1]["params"]) == expected == 431_580


@pytest.mark.parametrize(
    ("variant", "shapes"),
    [
        # Figure 3: two sets of 23 maps, six of 13.
        ("ji_3dcnn", {"c1": (27, 17, 46), "c2": (7, 4, 78), "c3": (1, 1, 128)}),
        ("ji_3dcnn_kth", {"c1": (18, 24, 66), "c2": (4, 6, 138), "c3": (1, 1, 128)}),
    ],
)
def test_features_are_those_of_the_paper(variant, shapes):
    model = ji_3dcnn(variant)
    features, _ = shapes_of(model, (2, *zoo.ENTRIES[variant].preprocessing.input_shape))
    assert {name: feature.shape for name, feature in features.items()} == {
        name: (2, *shape) for name, shape in shapes.items()
    }
    assert model.channels == {name: shape[-1] for name, shape in shapes.items()}
    first, second = model.windows
    assert model.strides == {"c1": first, "c2": first * second, "c3": first * second}
    assert model.temporal_strides == {"c1": 1, "c2": 1, "c3": 1}


def test_strides_are_the_distance_of_neighbours():
    # A change of one pixel is seen by the neighbour one stride further on, after a shift by that stride.
    model = Ji3DCNN(features=2)
    clips = jnp.asarray(seeded_clips(CASES["ji_3dcnn"]))[:1]
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), clips)
    apply = jax.jit(functools.partial(model.apply, train=False))
    whole = apply(variables, clips)
    for name, inner in (("c1", slice(3, -3)), ("c2", slice(1, -2))):
        stride = model.strides[name]
        moved = apply(variables, jnp.roll(clips, stride, axis=2))
        np.testing.assert_allclose(moved[name][0, 1:][inner], whole[name][0, :-1][inner], atol=1e-5)
        assert np.abs(moved[name] - whole[name]).max() > 1e-2


def test_channels_are_kept_apart_up_to_the_last_convolution():
    model = Ji3DCNN(features=2)
    clips = jnp.asarray(seeded_clips(CASES["ji_3dcnn"]))[:1]
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), clips)
    apply = jax.jit(functools.partial(model.apply, train=False))
    before = apply(variables, clips)
    params = dict(variables["params"])
    params["gradient_y_conv1"] = jax.tree.map(lambda leaf: leaf + 1.0, params["gradient_y_conv1"])
    after = apply({"params": params}, clips)
    changed = np.abs(before["c2"] - after["c2"]).max((0, 1, 2)) > 0
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(36, 54))  # 3 moments of 6 sets each
    # A set of the first convolution makes three of the second: maps of set 1 do not see set 0.
    params = dict(variables["params"])
    kernel = params["gray_conv1"]["kernel"]
    params["gray_conv1"] = {**params["gray_conv1"], "kernel": kernel.at[..., 0].add(1.0)}
    after = apply({"params": params}, clips)
    changed = np.abs(before["c2"] - after["c2"]).max((0, 1, 2)) > 0
    np.testing.assert_array_equal(np.flatnonzero(changed), [0, 1, 2, 6, 7, 8, 12, 13, 14])


def test_gray_clips_are_those_of_equal_colours():
    model = zoo.create("ji_3dcnn")
    gray = jnp.asarray(seeded_clips(CASES["ji_3dcnn"]))[..., :1]
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), gray)

    @jax.jit
    def both(variables, gray):
        colours = jnp.broadcast_to(gray, (*gray.shape[:-1], 3))
        return [model.apply(variables, clips, train=False) for clips in (gray, colours)]

    np.testing.assert_allclose(*both(variables, gray), atol=2e-4)


@pytest.mark.parametrize("name", names_of(*JI_3DCNN_VARIANTS))
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", names_of(*JI_3DCNN_VARIANTS))
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("torch")
    from oracles.torch_video import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


def test_second_call_does_not_retrace_and_dtypes_are_kept():
    model, traces = zoo.create("ji_3dcnn", dtype=jnp.bfloat16), []

    @jax.jit
    def apply(variables, clips):
        traces.append(clips.shape)
        return model.apply(variables, clips, train=False)

    logits, target = shapes_of(model, (0, 7, 60, 40, 3))
    assert (logits.shape, logits.dtype) == ((0, 3), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(target)} == {jnp.dtype("float32")}
    features, _ = shapes_of(model.backbone)
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, leaf.dtype), target)
    clips = seeded_clips(CASES["ji_3dcnn"])
    apply(variables, clips)
    apply(variables, clips / 2)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 6, 60, 40, 3), jnp.float32, r"expected \[N, 7, 60, 40, 1 or 3\], got \[1, 6, 60, 40, 3\]"),
        (
            (1, 7, 40, 60, 3),
            jnp.float32,
            r"got \[1, 7, 40, 60, 3\]; the last convolution reads maps of one size",
        ),
        ((1, 7, 60, 40, 2), jnp.float32, r"1 or 3\], got \[1, 7, 60, 40, 2\]"),
        ((7, 60, 40, 3), jnp.float32, r"got \[7, 60, 40, 3\]"),
        ((1, 7, 60, 40, 3), jnp.uint8, "clips: expected a floating dtype, got uint8"),
    ],
)
def test_wrong_clips_raise(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        clips = jax.ShapeDtypeStruct(shape, dtype)
        jax.eval_shape(functools.partial(Ji3DCNN().init, train=False), jax.random.key(0), clips)


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown variant .* 'ji_3dcnn_kht'.*ji_3dcnn_kth"):
        ji_3dcnn("ji_3dcnn_kht")
