"""Auxiliary heads and options of GoogLeNet; values of PyTorch are in ``test_classic``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES
from oracles.network_cases import recorded, seeded_state_dict

from jaxvision import zoo
from jaxvision.backbones import GoogLeNetClassifier, googlenet
from jaxvision.core import count_parameters, flatten_paths
from jaxvision.weights import (
    AUX_HEADS,
    BOOKKEEPING,
    convert,
    googlenet_backbone_rules,
    googlenet_classifier_rules,
)


def shapes_of(model, shape=(1, 64, 64, 3), **options):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, **{"train": False, **options})
    return jax.eval_shape(run, jax.random.key(0), images)


def narrow(*, aux_heads):
    return CASES["googlenet"].model.clone(aux_heads=aux_heads)


def test_auxiliary_heads_are_parameters_that_evaluation_does_not_read():
    model = narrow(aux_heads=True)
    logits, variables = shapes_of(model)
    assert logits.shape == (1, 3)
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]) == {"backbone", "head", "aux1_head", "aux2_head"}
    without = {
        collection: {name: tree for name, tree in trees.items() if not name.startswith("aux")}
        for collection, trees in variables.items()
    }
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    assert jax.eval_shape(functools.partial(model.apply, train=False), without, images).shape == (2, 3)
    # torchvision's count of the whole net.
    whole = shapes_of(GoogLeNetClassifier(googlenet("googlenet"), aux_heads=True))[1]
    assert count_parameters(whole["params"]) == 13_004_888


@pytest.mark.parametrize("aux_heads", [True, False])
def test_training_returns_the_main_logits_and_sows_those_of_the_heads(aux_heads):
    model = narrow(aux_heads=aux_heads)
    variables = shapes_of(model)[1]
    images = jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32)
    call = functools.partial(model.apply, train=True, mutable=["batch_stats", "aux_logits"])
    logits, updates = jax.eval_shape(call, variables, images)
    assert logits.shape == (4, 3)
    shapes = {name: leaf.shape for name, leaf in updates.get("aux_logits", {}).items()}
    assert shapes == ({"aux1": (4, 3), "aux2": (4, 3)} if aux_heads else {})
    call = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    logits, updates = jax.eval_shape(call, variables, images)
    assert logits.shape == (4, 3)
    assert set(updates) == {"batch_stats"}


def test_rules_fit_with_and_without_auxiliary_heads():
    whole = shapes_of(narrow(aux_heads=True))[1]
    # PyTorch's names and shapes, which the recording of the net with these heads holds.
    source = seeded_state_dict(recorded("googlenet_aux")["shapes"])
    full = flatten_paths(convert(source, googlenet_classifier_rules(), whole, ignore=BOOKKEEPING))
    main = shapes_of(narrow(aux_heads=False))[1]
    ignore = (*BOOKKEEPING, *AUX_HEADS)
    part = flatten_paths(convert(source, googlenet_classifier_rules(), main, ignore=ignore))
    assert set(full) - set(part) == {path for path in full if "/aux" in path}
    assert all(np.array_equal(full[path], leaf) for path, leaf in part.items())
    with pytest.raises(ValueError, match=r"source key 'aux1.*which the model does not have"):
        convert(source, googlenet_classifier_rules(), main, ignore=BOOKKEEPING)
    body = {key: value for key, value in source.items() if not key.startswith(("aux", "fc."))}
    target = shapes_of(narrow(aux_heads=False).backbone)[1]
    convert(body, googlenet_backbone_rules(module=""), target, ignore=BOOKKEEPING)


@pytest.mark.parametrize("aux_heads", [True, False])
def test_zoo_loads_a_file_with_auxiliary_heads(tmp_path, aux_heads):
    source = seeded_state_dict(recorded("googlenet_aux")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    backbone = CASES["googlenet"].model.backbone
    fields = {"stem_features": backbone.stem_features, "blocks": backbone.blocks}
    _, variables, *_ = zoo.load(
        "googlenet", weights=tmp_path / "weights.npz", num_classes=3, backbone=fields, aux_heads=aux_heads,
        aux_features=8, aux_hidden=10,
    )  # fmt: skip
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], source["fc.weight"].T)
    assert ("aux1_head" in variables["params"]) == aux_heads
    if aux_heads:
        leaf = variables["params"]["aux2_head"]["head"]["bias"]
        np.testing.assert_array_equal(leaf, source["aux2.fc2.bias"])


@pytest.mark.slow
def test_initialisation_is_that_of_torchvision():
    model = narrow(aux_heads=True)
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    kernels = [leaf for path, leaf in flatten_paths(variables).items() if path.endswith("kernel")]
    every = np.concatenate([np.ravel(kernel) for kernel in kernels])
    assert abs(every.std() / 0.01 - 1) < 0.02
    assert abs(every.mean()) < 1e-3


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown GoogLeNet variant 'googlnet'.*googlenet"):
        googlenet("googlnet")
