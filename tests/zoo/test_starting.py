"""Networks on a backbone that start from a classifier's weights, on narrow ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import seeded_state_dict

from jaxvision import weights, zoo
from jaxvision.backbones import vgg
from jaxvision.core import flatten_paths
from jaxvision.segmentation import FCN, take_from_classifier
from jaxvision.zoo import segmentation

RESNET = {"features": (4, 6, 8, 8), "stem_features": 4}
VGG = {"features": (2, 2, 3, 3, 4)}


@functools.cache
def zeros_of(name, **fields):
    narrow = {"backbone": VGG if "vgg" in name or name in ("segnet", "deconvnet") else RESNET}
    model = zoo.create(name, **fields, **narrow)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def published(classifier, **fields):
    """A state dict in torchvision's names, of the narrow classifier; values from a seed."""
    named = weights.to_state_dict(
        zeros_of(classifier, num_classes=10, **fields), zoo.ENTRIES[classifier].rules()
    )
    return seeded_state_dict({key: value.shape for key, value in named.items()})


def npz(path, source):
    np.savez(path, **source)
    return path


@pytest.mark.parametrize("name", ["unet_resnet18", "linknet_resnet18", "unetplusplus_resnet18"])
def test_a_resnet_starts_the_backbone_and_nothing_else(tmp_path, name):
    source, before = published("resnet18"), zeros_of(name, num_classes=5)
    started = zoo.start_backbone(name, before, weights=npz(tmp_path / "weights.npz", source), backbone=RESNET)
    after = flatten_paths(started.variables)
    assert jax.tree.structure(started.variables) == jax.tree.structure(before)
    assert set(started.taken) == {path for path in after if "/backbone/" in path}
    assert set(started.taken) | set(started.new) == set(after)
    assert not set(started.taken) & set(started.new)
    assert started.classifier == "resnet18"
    assert started.preprocessing == zoo.ENTRIES["resnet18"].preprocessing
    kernel = after["params/backbone/stage3_block1/conv2/kernel"]
    np.testing.assert_array_equal(kernel, source["layer3.1.conv2.weight"].transpose(2, 3, 1, 0))
    mean = after["batch_stats/backbone/stem_norm/mean"]
    np.testing.assert_array_equal(mean, source["bn1.running_mean"])
    assert all(not after[path].any() for path in started.new)
    assert not any(leaf.any() for leaf in jax.tree.leaves(before))


@pytest.mark.parametrize(
    ("hidden", "dense"),
    [(4096, {"fc6/kernel", "fc6/bias", "fc7/kernel", "fc7/bias"}), (5, set())],
)
def test_vggs_dense_layers_become_convolutions_where_they_fit(tmp_path, hidden, dense):
    source, before = published("vgg11"), fcn_on_vgg11(hidden)
    loaded = zoo.load("vgg11", weights=npz(tmp_path / "weights.npz", source), backbone=VGG)
    after, taken = take_from_classifier(before, loaded.variables)
    assert {path.removeprefix("params/") for path in taken if "backbone" not in path} == dense
    if dense:
        window = np.random.default_rng(1).standard_normal((4, 7, 7)).astype(np.float32)  # [C, H, W]
        linear = source["classifier.0.weight"] @ window.reshape(-1)
        convolved = np.einsum("chw,hwco->o", window, after["params"]["fc6"]["kernel"])
        np.testing.assert_allclose(convolved, linear, rtol=1e-3, atol=1e-3)


def fcn_on_vgg11(hidden):
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = FCN(vgg("vgg11", **VGG), 5, hidden=hidden)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def test_another_backbone_or_none_is_refused(tmp_path):
    path = npz(tmp_path / "weights.npz", published("resnet18"))
    with pytest.raises(ValueError, match=r"unet_bn has no backbone .*these have: .*'unet_resnet34'"):
        zoo.start_backbone("unet_bn", {}, weights=path)
    with pytest.raises(ValueError, match="weights of another architecture"):
        zoo.start_backbone("segnet", zeros_of("segnet"), weights=path, backbone=VGG)
    with pytest.raises(ValueError, match=r"does not fit resnet34"):
        zoo.start_backbone("unet_resnet34", zeros_of("unet_resnet34"), weights=path, backbone=RESNET)
    with pytest.raises(ValueError, match=r"\(4,\) in the classifier and absent in the network"):
        zoo.start_backbone(
            "unet_resnet18", {"params": {"backbone": {"a": np.zeros(2)}}}, weights=path, backbone=RESNET
        )
    with pytest.raises(ValueError, match="the network has no backbone"):
        take_from_classifier({"params": {"head": np.zeros(2)}}, {})
    with pytest.raises(FileNotFoundError):
        zoo.start_backbone("unet_resnet18", {}, weights=tmp_path / "absent.npz")


def test_every_network_on_a_backbone_names_its_classifier():
    for name, entry in segmentation.ENTRIES.items():
        backbone = getattr(zoo.create(name), "backbone", None)
        assert (entry.classifier is None) == (backbone is None), name
        if backbone is not None:
            assert zoo.create(entry.classifier).backbone == backbone, name


def test_whole_networks_load_from_segmentation_models_pytorch(tmp_path):
    zeros = zeros_of("linknet_resnet18", num_classes=5)
    named = weights.to_state_dict(zeros, weights.smp_linknet_rules())
    source = seeded_state_dict({key: value.shape for key, value in named.items()})
    assert "encoder.layer1.0.conv1.weight" in source
    assert "decoder.blocks.0.block.1.0.bias" in source
    path = npz(tmp_path / "weights.npz", source)
    loaded = zoo.load("linknet_resnet18", weights=path, backbone=RESNET)
    assert loaded.model.num_classes == 5
    kernel = loaded.variables["params"]["decoder_block2"]["upsample"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, source["decoder.blocks.2.block.1.0.weight"].transpose(2, 3, 0, 1))
    renewed = zoo.load("linknet_resnet18", weights=path, num_classes=7, backbone=RESNET)
    assert sorted(renewed.initialised) == ["params/head/bias", "params/head/kernel"]
