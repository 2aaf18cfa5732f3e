import functools
import re

import jax
import jax.numpy as jnp
import pytest

from jaxvision import weights, zoo
from jaxvision.backbones import RESNET_VARIANTS
from jaxvision.core import flatten_paths
from jaxvision.zoo import segmentation, segmentation_context


def test_names_are_sorted_and_hold_every_family():
    names = zoo.names()
    assert names == sorted(names)
    expected = {"vgg11", "vgg19_bn", "fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16", "fcn8s_vgg16_bn", "unet"}
    assert expected | set(RESNET_VARIANTS) <= set(names)


# The smallest of each family, such as resnet18 and vgg11_bn; tracing all takes minutes.
QUICK = {
    (re.split(r"[\d_]", name)[0], name.endswith("_bn")): name
    for name in sorted(zoo.names(), key=lambda name: (len(name), name), reverse=True)
}.values()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in zoo.names()]
)
def test_every_network_builds_and_runs_by_shape(name):
    model = zoo.create(name, num_classes=6)
    shape = zoo.ENTRIES[name].preprocessing.input_shape
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, variables = jax.eval_shape(
        functools.partial(model.init_with_output, train=False), jax.random.key(0), images
    )
    dense = name in {**segmentation.ENTRIES, **segmentation_context.ENTRIES}
    assert logits.shape == ((2, *shape[:-1], 6) if dense else (2, 6))
    # Each table of weights names every leaf, and takes the names back to the leaves.
    tables = [make() for make in (zoo.ENTRIES[name].rules, *zoo.ENTRIES[name].other_rules) if make]
    for rules in tables:
        keys = weights.source_keys(flatten_paths(variables), rules)
        assert weights.match_keys(keys, rules) == keys
        filled = [path for _, paths in keys.values() for path in paths]
        assert sorted(filled) == sorted(flatten_paths(variables))


def test_overrides_reach_network_and_backbone():
    model = zoo.create(
        "fcn16s_vgg16_bn", num_classes=11, hidden=32, dtype=jnp.bfloat16, axis_name="data",
        backbone={"features": (1, 2, 3, 4, 5)},
    )  # fmt: skip
    assert (model.num_classes, model.hidden, model.stride, model.dtype) == (11, 32, 16, jnp.bfloat16)
    body = model.backbone
    assert (body.features, body.dtype, body.axis_name) == ((1, 2, 3, 4, 5), jnp.bfloat16, "data")
    assert body.use_norm
    assert body.convolutions == (2, 2, 3, 3, 3)
    assert zoo.create("unet", axis_name="data").axis_name == "data"
    classifier = zoo.create(
        "resnext50_32x4d", axis_name="data", dropout_rate=0.5, backbone={"output_stride": 8}
    )
    assert classifier.dropout_rate == 0.5
    assert classifier.backbone.output_stride == 8
    assert classifier.backbone.norm().axis_name == "data"
    assert classifier.backbone.block(64).groups == 32


def test_unknown_name_gives_the_nearest_and_how_to_list():
    with pytest.raises(
        ValueError, match=r"unknown network 'fcn8_vgg16'; did you mean 'fcn8s_vgg16'.*zoo\.names"
    ):
        zoo.create("fcn8_vgg16")
    with pytest.raises(ValueError, match=r"unknown network 'zzz'; jaxvision\.zoo\.names\(\) lists all"):
        zoo.create("zzz")


def test_unknown_override_raises():
    with pytest.raises(ValueError, match=re.escape("got the overrides ['depth']")):
        zoo.create("unet", depth=3)
