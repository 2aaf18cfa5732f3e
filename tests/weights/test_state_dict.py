"""From our variables back to the published names: the inverse of ``convert``, bit for bit."""

import functools
import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from oracles.network_cases import CASES, our_model, recorded, rules_for, seeded_images, seeded_state_dict

from jaxvision import zoo
from jaxvision.weights import (
    BOOKKEEPING,
    LAYOUTS,
    Rule,
    convert,
    read_weights,
    source_keys,
    to_state_dict,
    write_safetensors,
)
from jaxvision.weights.state_dict import _INVERSE_LAYOUTS


def array(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def assert_same(found, source):
    assert found.keys() == source.keys()
    for key, value in source.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize(
    ("layout", "weight", "spatial", "leaves"),
    [
        ("identity", array(3), (1, 1), 1),
        ("conv", array(4, 3, 5, 2), (1, 1), 1),
        ("conv3d", array(4, 3, 5, 2, 6), (1, 1), 1),
        ("transposed_conv", array(4, 3, 5, 2), (1, 1), 1),
        ("linear", array(4, 3), (1, 1), 1),
        ("linear_after_flatten", array(2, 105), (5, 7), 1),
        ("linear_to_conv", array(2, 105), (5, 7), 1),
        ("token", array(1, 1, 4), (1, 1), 1),
        ("gain", array(4, 1, 1, 1), (1, 1), 1),
        ("packed_linear", array(6, 5), (1, 1), 3),
        ("packed_bias", array(6), (1, 1), 3),
        ("class_and_grid_positions", array(1, 10, 2), (1, 1), 2),
    ],
)
def test_every_layout_is_undone(layout, weight, spatial, leaves):
    parts = LAYOUTS[layout](weight, spatial)
    parts = parts if isinstance(parts, tuple) else (parts,)
    assert len(parts) == leaves
    paths = tuple(f"params/{index}" for index in range(leaves))
    rule = Rule("w", paths if leaves > 1 else paths[0], layout, spatial)
    variables = {"params": {str(index): part for index, part in enumerate(parts)}}
    assert_same(to_state_dict(variables, [rule]), {"w": weight})


def test_no_layout_is_without_an_inverse():
    assert set(_INVERSE_LAYOUTS) == set(LAYOUTS)


@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "resnet_basic", "resnet_dilated", "fcn8s_bn_small"])
def test_a_network_goes_there_and_back(name):
    case, source = CASES[name], seeded_state_dict(recorded(name)["shapes"])
    model, images = our_model(case), jnp.asarray(seeded_images(case))
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    rules = rules_for(case)
    variables = convert(source, rules, target, ignore=BOOKKEEPING)
    assert_same(to_state_dict(variables, rules), source)


def test_what_is_written_is_what_other_libraries_read(tmp_path):
    variables = {
        "params": {
            "head": {"kernel": array(3, 2), "bias": jnp.ones(2, jnp.bfloat16)},
            "norm": {"scale": array(3)},
        },
        "batch_stats": {"norm": {"mean": array(3), "var": array(3)}},
    }
    rules = (
        Rule(r"fc\.weight", "params/head/kernel", "linear"),
        Rule(r"fc\.bias", "params/head/bias"),
        Rule(r"(?:module\.)?bn(?P<part>)\.weight", r"params/norm\g<part>/scale"),
        Rule(r"(?:bn|norm)\.running_(mean|var)", r"batch_stats/norm/\1"),
    )
    write_safetensors(tmp_path / "weights.safetensors", to_state_dict(variables, rules))
    found = read_weights(tmp_path / "weights.safetensors")
    assert sorted(found) == [
        "bn.num_batches_tracked", "bn.running_mean", "bn.running_var", "bn.weight", "fc.bias", "fc.weight",
    ]  # fmt: skip
    assert found["bn.num_batches_tracked"].dtype == np.int64
    assert found["bn.num_batches_tracked"].shape == ()
    assert found["fc.bias"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found["fc.weight"], variables["params"]["head"]["kernel"].T)


def test_a_group_that_comes_twice_must_be_the_same():
    rules = [Rule(r"layer(\d+)\.weight", r"params/stage\1/conv\1/kernel")]
    assert list(source_keys(["params/stage12/conv12/kernel"], rules)) == ["layer12.weight"]
    with pytest.raises(ValueError, match="no rule fills it"):
        source_keys(["params/stage1/conv2/kernel"], rules)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(r"conv\d\.weight", "params/w"), r"cannot be turned round at '\\d\\.weight'"),
        (Rule(r"conv[12]", "params/w"), "cannot be turned round at '[12]'"),
        (Rule(r"conv.", "params/w"), "cannot be turned round at '.'"),
        (Rule(r"(a(b))", r"params/w\1"), "cannot be turned round"),
        (Rule(r"(?!b)w", "params/w"), "cannot be turned round at '(?!b)w'"),
        (Rule(r"(a", "params/w"), "cannot be turned round"),
        (Rule(r"(a|b)\.weight", "params/w"), "its group 1 is not in the path 'params/w'"),
        (Rule("w", "params/w", "turned"), "the layout 'turned' has no inverse"),
        (Rule("w", "params/other"), "'params/w': no rule fills it"),
        (Rule("w", ("params/w", "params/x"), "packed_bias"), "'params/w': no rule fills it"),
    ],
)
def test_a_rule_that_cannot_be_turned_round_is_named(rule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        to_state_dict({"params": {"w": array(3)}}, [rule])


def test_two_leaves_of_one_name_are_refused():
    rules = [Rule("w", "params/a"), Rule("(w)", r"params/\1")]
    with pytest.raises(ValueError, match="params/a, params/w would all be 'w'"):
        to_state_dict({"params": {"a": array(3), "w": array(3)}}, rules)


def test_the_zoo_names_the_library_that_is_asked_for():
    model = zoo.create("efficientnet_b0", num_classes=3)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    assert zoo.export_state_dict("efficientnet_b0", variables)["classifier.1.weight"].shape == (3, 1280)
    named = zoo.export_state_dict("efficientnet_b0", variables, like=["conv_stem.weight", "classifier.bias"])
    assert named["classifier.weight"].shape == (3, 1280)
    with pytest.raises(ValueError, match="unet has no published weights"):
        zoo.export_state_dict("unet", variables)
    with pytest.raises(ValueError, match="no rule fills it"):
        zoo.export_state_dict("resnet18", variables)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg16_bn", {}),
        ("resnet18", {}),
        ("mobilenet_v2", {}),
        ("mobilenet_v3_small", {}),
        ("efficientnet_b0", {}),
        ("vit_b_16", {}),
        ("googlenet", {"aux_logits": False, "init_weights": True}),
        ("inception_v3", {"aux_logits": False, "init_weights": True}),
        ("r3d_18", {}),
    ],
)
def test_torch_takes_its_own_weights_back(name, options):
    import torch
    import torchvision

    torch.manual_seed(0)
    build = functools.partial(torchvision.models.get_model, name, weights=None, **options)
    source = build().state_dict()
    model = zoo.create(name)
    images = jax.ShapeDtypeStruct((1, *zoo.ENTRIES[name].preprocessing.input_shape), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    arrays = {key: value.numpy() for key, value in source.items()}
    variables = convert(arrays, zoo.ENTRIES[name].rules(), target, ignore=BOOKKEEPING)
    named = zoo.export_state_dict(name, variables)
    other = build()
    other.load_state_dict({key: torch.from_numpy(value) for key, value in named.items()}, strict=True)
    for key, value in other.state_dict().items():
        assert torch.equal(value, source[key]), key
