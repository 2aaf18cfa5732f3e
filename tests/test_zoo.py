import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import CASES, VGG11, recorded, rules_for, seeded_state_dict

from jaxvision import zoo
from jaxvision.backbones import RESNET_VARIANTS
from jaxvision.weights import BOOKKEEPING, convert

TINY = {"hidden": 4, "backbone": {"features": (2, 2, 2, 2, 2)}}


def test_names_are_sorted_and_hold_every_family():
    names = zoo.names()
    assert names == sorted(names)
    expected = {"vgg11", "vgg19_bn", "fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16", "fcn8s_vgg16_bn", "unet"}
    assert expected | set(RESNET_VARIANTS) <= set(names)


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_builds_and_runs_by_shape(name):
    model = zoo.create(name, num_classes=6)
    shape = zoo.ENTRIES[name].preprocessing.input_shape
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, _ = jax.eval_shape(
        functools.partial(model.init_with_output, train=False), jax.random.key(0), images
    )
    dense = name.startswith(("fcn", "unet"))
    assert logits.shape == ((2, *shape[:-1], 6) if dense else (2, 6))


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


def test_load_fills_a_network_from_a_file(tmp_path):
    case = CASES["vgg_bn"]
    source = seeded_state_dict(recorded("vgg_bn")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    fields = {"num_classes": 3, "hidden": 10, "backbone": {"features": (4, 4, 6, 6, 8)}}
    model, variables = zoo.load("vgg11_bn", weights=tmp_path / "weights.npz", **fields)
    assert model.backbone.convolutions == VGG11
    expected = convert(source, rules_for(case), variables, ignore=BOOKKEEPING)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, expected))
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["classifier.6.weight"].T)


def test_load_fills_a_resnet_from_a_file(tmp_path):
    source = seeded_state_dict(recorded("resnet_basic")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    case = CASES["resnet_basic"]
    fields = {name: case.fields[name] for name in ("blocks", "features", "stem_features")}
    _, variables = zoo.load("resnet18", weights=tmp_path / "weights.npz", num_classes=3, backbone=fields)
    expected = convert(source, rules_for(case), variables, ignore=BOOKKEEPING)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, expected))
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["fc.weight"].T)
    del fields["blocks"]  # resnet34's own, of which the file holds only some
    with pytest.raises(ValueError, match="leaves are not in the source"):
        zoo.load("resnet34", weights=tmp_path / "weights.npz", num_classes=3, backbone=fields)


def test_load_errors(tmp_path):
    with pytest.raises(ValueError, match=r"fcn8s_vgg16 has no published weights.*vgg11"):
        zoo.load("fcn8s_vgg16", weights=tmp_path / "weights.npz", **TINY)
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        zoo.load("vgg11", weights=tmp_path / "weights.npz", **TINY)
