"""Heads on any backbone: the spatial pyramid; values of PyTorch are in ``test_classic``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES

from jaxvision import zoo
from jaxvision.backbones import (
    C3D,
    C3DClassifier,
    NFNet,
    NFNetClassifier,
    SPPClassifier,
    VGGClassifier,
    cifar_resnet,
    resnet,
    vgg,
    vit,
)
from jaxvision.zoo.entry import build_classifier


def shapes_of(model, shape, **options):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, **{"train": False, **options})
    return jax.eval_shape(run, jax.random.key(0), images)


def test_pyramid_has_the_same_parameters_for_images_of_any_size():
    model = CASES["spp"].model
    shapes = [shapes_of(model, shape)[1] for shape in ((1, 32, 32, 3), (2, 224, 180, 3), (3, 33, 700, 3))]
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[0]["params"]["fc6"]["kernel"].shape == (50 * 8, 10)


@pytest.mark.parametrize(("levels", "regions"), [((1,), 1), ((1, 2, 4), 21)])
def test_levels_and_width_are_fields(levels, regions):
    model = build_classifier(
        vgg,
        "vgg11",
        head=SPPClassifier,
        num_classes=5,
        levels=levels,
        hidden=7,
        backbone={"features": (2,) * 5},
    )  # fmt: skip
    logits, variables = shapes_of(model, (2, 64, 40, 3))
    assert logits.shape == (2, 5)
    assert variables["params"]["fc6"]["kernel"].shape == (2 * regions, 7)


def test_pyramid_fits_another_backbone():
    model = build_classifier(resnet, "resnet18", head=SPPClassifier, num_classes=4, hidden=6)
    logits, variables = shapes_of(model, (2, 50, 33, 3))
    assert logits.shape == (2, 4)
    assert variables["params"]["fc6"]["kernel"].shape == (50 * 512, 6)


def test_pyramid_takes_the_last_feature_that_there_is():
    cases = (
        (cifar_resnet, "cifar_resnet20", 64),
        (resnet, "resnet18", 512),
        (vit, "vit_tiny_patch16_224", 192),
    )
    for family, variant, last in cases:
        model = build_classifier(family, variant, head=SPPClassifier, num_classes=4, hidden=6)
        _, variables = shapes_of(model, (2, 64, 48, 3))
        assert variables["params"]["fc6"]["kernel"].shape == (50 * last, 6)


def test_a_backbone_without_the_feature_is_named():
    two = vgg("vgg11", convolutions=(1, 1), features=(2, 2))
    for head in (VGGClassifier(two), SPPClassifier(two, feature="c5")):
        with pytest.raises(ValueError, match=r"gives \['c1', 'c2'\] and no 'c5'; keep as many stages"):
            shapes_of(head, (1, 32, 32, 3))


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (NFNetClassifier(NFNet((1, 1), (4, 4), stem_features=8, group_size=2)), (1, 32, 32, 3)),
        (C3DClassifier(C3D((1, 1), (2, 2))), (1, 16, 32, 32, 3)),
    ],
)
def test_every_head_names_the_feature_that_it_lacks(head, shape):
    with pytest.raises(ValueError, match="and no 'c5'; keep as many stages"):
        shapes_of(head, shape)


def test_hidden_layers_are_dropped_in_training():
    model = CASES["spp"].model.clone(dropout_rate=1.0)
    images = jnp.ones((1, 32, 32, 3))
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), shapes_of(model, images.shape)[1]
    )
    run = jax.jit(functools.partial(model.apply, train=True))
    np.testing.assert_allclose(run(variables, images, rngs={"dropout": jax.random.key(0)}), 0.1)  # the bias


def test_errors():
    with pytest.raises(ValueError, match="levels: expected at least one grid size"):
        shapes_of(CASES["spp"].model.clone(levels=()), (1, 32, 32, 3))
    with pytest.raises(ValueError, match="got the overrides"):
        zoo.create("spp_vgg16", pyramid=(1, 2))
