"""The auxiliary head of Inception-v3; values of PyTorch are in ``test_classic``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES
from oracles.network_cases import recorded, seeded_state_dict

from jaxvision import zoo
from jaxvision.backbones import InceptionV3Classifier, inception_v3
from jaxvision.core import count_parameters
from jaxvision.weights import BOOKKEEPING, convert, inception_v3_backbone_rules


def shapes_of(model, size, *, train=False):
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    run = functools.partial(model.init_with_output, train=train)
    return jax.eval_shape(run, jax.random.key(0), images)


def test_auxiliary_head_is_parameters_and_training_sows_its_logits():
    model = CASES["inception_v3"].model.clone(aux_heads=True)
    _, variables = shapes_of(model, 299)
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]) == {"backbone", "head", "aux_head"}
    images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    call = functools.partial(model.apply, train=True, mutable=["batch_stats", "aux_logits"])
    logits, updates = jax.eval_shape(call, variables, images)
    assert logits.shape == updates["aux_logits"]["aux"].shape == (2, 3)
    # Evaluation leaves the head out, and takes smaller images.
    small = jax.ShapeDtypeStruct((2, 75, 75, 3), jnp.float32)
    assert jax.eval_shape(functools.partial(model.apply, train=False), variables, small).shape == (2, 3)


def test_auxiliary_head_needs_whole_images():
    model = CASES["inception_v3"].model.clone(aux_heads=True)
    for train in (True, False):  # initialisation makes its parameters in both
        with pytest.raises(
            ValueError, match=r"aux_heads: expected images of at least 299 pixels.*\[2, 16, 16,"
        ):
            shapes_of(model, 298, train=train)


def test_parameters_with_the_auxiliary_head_are_those_of_torchvision():
    model = InceptionV3Classifier(inception_v3("inception_v3"), aux_heads=True)
    assert count_parameters(shapes_of(model, 299)[1]["params"]) == 27_161_264


@pytest.mark.parametrize("aux_heads", [True, False])
def test_zoo_loads_a_file_with_the_auxiliary_head(tmp_path, aux_heads):
    source = seeded_state_dict(recorded("inception_v3_aux")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    fields = {"num_classes": 3, "backbone": {"width": 1 / 32}, "aux_heads": aux_heads}
    _, variables, *_ = zoo.load("inception_v3", weights=tmp_path / "weights.npz", **fields)
    assert ("aux_head" in variables["params"]) == aux_heads
    if aux_heads:
        leaf = variables["params"]["aux_head"]["head"]["kernel"]
        np.testing.assert_array_equal(leaf, source["AuxLogits.fc.weight"].T)
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["fc.weight"].T)


def test_backbone_rules_fill_a_backbone_alone():
    shapes = recorded("inception_v3_aux")["shapes"]
    source = seeded_state_dict(
        {key: shape for key, shape in shapes.items() if not key.startswith(("AuxLogits", "fc."))}
    )
    target = shapes_of(CASES["inception_v3"].model.backbone, 75)[1]
    variables = convert(source, inception_v3_backbone_rules(module=""), target, ignore=BOOKKEEPING)
    kernel = variables["params"]["mixed_7b"]["branch3x3dbl_3a"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel, source["Mixed_7b.branch3x3dbl_3a.conv.weight"].transpose(2, 3, 1, 0)
    )


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown Inception-v3 variant 'inception_v4'.*inception_v3"):
        inception_v3("inception_v4")
