"""Structure and errors of the Darknets; values of PyTorch are in ``test_classic``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES
from oracles.network_cases import recorded, seeded_state_dict

from jaxvision import zoo
from jaxvision.backbones import Darknet, darknet
from jaxvision.weights import BOOKKEEPING, convert, darknet_backbone_rules


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), images)


@pytest.mark.parametrize(("variant", "layers"), [("darknet19", 18), ("darknet53", 52)])
def test_number_of_convolutions_and_of_the_linear_layer_is_the_name(variant, layers):
    params = shapes_of(darknet(variant))[1]["params"]
    assert sum(leaf.ndim == 4 for leaf in jax.tree.leaves(params)) == layers == int(variant[-2:]) - 1


def test_slope_of_the_leaky_relu():
    assert darknet("darknet53").negative_slope == darknet("darknet19").negative_slope == 0.1
    assert zoo.create("darknet53").backbone.negative_slope == 0.01  # timm's weights
    assert zoo.create("darknet53", backbone={"negative_slope": 0.1}).backbone.negative_slope == 0.1


def test_backbone_rules_fill_a_backbone_alone():
    source = seeded_state_dict(recorded("darknet53")["shapes"])
    source = {key: value for key, value in source.items() if not key.startswith("head.")}
    target = shapes_of(CASES["darknet53"].model.backbone)[1]
    variables = convert(source, darknet_backbone_rules(module=""), target, ignore=BOOKKEEPING)
    kernel = variables["params"]["stage5_block1"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, source["stages.4.blocks.1.conv2.conv.weight"].transpose(2, 3, 1, 0))


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="blocks and features: expected one number a stage in each"):
        shapes_of(Darknet(blocks=(1, 1)))
    with pytest.raises(ValueError, match=r"unknown Darknet variant 'darknet52'.*darknet53"):
        darknet("darknet52")
