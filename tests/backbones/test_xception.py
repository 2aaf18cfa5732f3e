"""Options and errors of both Xceptions; values of PyTorch are in ``test_classic``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES
from oracles.network_cases import assert_close, recorded, seeded_state_dict

from jaxvision.backbones import aligned_xception, xception
from jaxvision.weights import (
    BOOKKEEPING,
    aligned_xception_backbone_rules,
    convert,
    xception_backbone_rules,
)


def shapes_of(model, shape=(1, 65, 65, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), images)


def aligned(**fields):
    return CASES["aligned_xception"].model.backbone.clone(**fields)


@pytest.mark.parametrize(
    ("name", "rules"),
    [("xception", xception_backbone_rules), ("aligned_xception", aligned_xception_backbone_rules)],
)
def test_backbone_rules_fill_a_backbone_alone(name, rules):
    shapes = recorded(name)["shapes"]
    source = seeded_state_dict(
        {key: shape for key, shape in shapes.items() if not key.startswith(("fc.", "head."))}
    )
    target = shapes_of(CASES[name].model.backbone)[1]
    variables = convert(source, rules(module=""), target, ignore=BOOKKEEPING)
    key = "block2.rep.4.pointwise.weight" if name == "xception" else "blocks.2.stack.conv2.conv_pw.weight"
    kernel = variables["params"]["block2"]["conv2"]["pointwise"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, source[key].transpose(2, 3, 1, 0))


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_of_the_aligned_net(output_stride):
    model = aligned(output_stride=output_stride)
    assert model.strides == {f"c{i}": min(2**i, output_stride) for i in range(1, 6)}
    features, _ = shapes_of(model, (2, 97, 160, 3))
    for name, feature in features.items():
        stride = model.strides[name]
        assert feature.shape == (2, -(-97 // stride), 160 // stride, model.channels[name])


def test_weights_fit_every_output_stride():
    # A strided block that keeps its width, as xception71's fifth.
    fields = {"entry": ((8, 2), (10, 2), (10, 2))}
    strided, *dilated = [shapes_of(aligned(output_stride=s, **fields))[1] for s in (32, 16, 8)]
    assert dilated == [strided, strided]


@pytest.mark.slow
def test_dilated_features_are_the_strided_ones_at_every_fourth_pixel():
    case = CASES["aligned_xception"]
    source = seeded_state_dict(recorded("aligned_xception")["shapes"])
    variables = convert(source, case.rules, shapes_of(case.model)[1], ignore=BOOKKEEPING)
    body = {collection: tree["backbone"] for collection, tree in variables.items()}
    images = jax.random.normal(jax.random.key(1), (1, 65, 50, 3))

    @jax.jit
    def run(body, images):
        return [aligned(output_stride=stride).apply(body, images, train=False) for stride in (32, 8)]

    strided, dilated = run(body, images)
    for name, step in [("c3", 1), ("c4", 2), ("c5", 4)]:
        assert_close(name, dilated[name][:, ::step, ::step], np.asarray(strided[name]))


@pytest.mark.slow
def test_stochastic_depth_drops_whole_branches():
    model, images = aligned(drop_path_rate=1.0), jnp.ones((1, 33, 33, 3))
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), shapes_of(model)[1])
    run = functools.partial(model.apply, variables, mutable=["batch_stats"])
    call = jax.jit(lambda key: run(images, train=True, rngs={"dropout": key})[0])
    # Blocks 0 to 6 drop with probability 0 to 6 / 6, the last without a residual.
    draws = [np.asarray(call(jax.random.key(seed))["c2"]) for seed in range(16)]
    assert len({draw.tobytes() for draw in draws}) > 1


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="output_stride: expected 8, 16 or 32, got 4"):
        shapes_of(aligned(output_stride=4))
    with pytest.raises(ValueError, match=r"unknown Xception variant 'xception'.*legacy_xception"):
        xception("xception")
    with pytest.raises(ValueError, match=r"unknown Aligned Xception variant 'xception66'.*xception65"):
        aligned_xception("xception66")
