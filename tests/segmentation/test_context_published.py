"""Whole networks with context modules: published counts, weights of torchvision and smp, and export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import assert_close, in_double, seeded_state_dict

from jaxvision import weights, zoo
from jaxvision.core import count_parameters, flatten_paths
from jaxvision.export import PLATFORMS
from jaxvision.segmentation import take_from_classifier
from jaxvision.weights import BOOKKEEPING, convert
from jaxvision.zoo.residual import RESNETS
from jaxvision.zoo.segmentation_context import ENTRIES

# torchvision's own tables of its weights, "num_params", with the auxiliary heads.
TORCHVISION = {
    "fcn_resnet50": 35_322_218,
    "fcn_resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
    "deeplabv3_mobilenet_v3_large": 11_029_328,
    "lraspp_mobilenet_v3_large": 3_221_538,
}
SMP = {
    "deeplabv3_resnet18": "DeepLabV3",
    "deeplabv3_resnet34": "DeepLabV3",
    **{f"deeplabv3plus_{body}": "DeepLabV3Plus" for body in RESNETS},
    "deeplabv3plus_mobilenet_v2": "DeepLabV3Plus",
    "pspnet_resnet18": "PSPNet",
    "pspnet_resnet34": "PSPNet",
    **{f"fpn_{body}": "FPN" for body in RESNETS},
}
NARROW = {"features": (4, 4, 8, 8), "stem_features": 4}
# A shortcut has a convolution wherever a stride was, though dilation took its place.
GROWING = {"features": (4, 8, 12, 16), "stem_features": 4}
BIG = ("resnet101", "resnet152", "xception65")


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def with_aux(name):
    """Fields of the network with torchvision's auxiliary head."""
    return {"aux_head": True} if name in TORCHVISION and not name.startswith("lraspp") else {}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.endswith(BIG) else ()) for name in TORCHVISION]
)
def test_parameter_count_is_the_published_one(name):
    _, variables = shapes_of(zoo.create(name, **with_aux(name)))
    assert count_parameters(variables["params"]) == TORCHVISION[name]


def published(name, *, meta=False):
    """torchvision's or smp's network, of 21 classes."""
    import contextlib

    import torch

    with torch.device("meta") if meta else contextlib.nullcontext():
        if name in TORCHVISION:
            from torchvision.models import get_model

            return get_model(name, weights=None, weights_backbone=None, aux_loss=bool(with_aux(name)))
        import segmentation_models_pytorch as smp

        encoder = name.split("_", 1)[1]
        return getattr(smp, SMP[name])(encoder, encoder_weights=None, classes=21)


@pytest.mark.parity
@pytest.mark.parametrize("name", [*TORCHVISION, *SMP])
def test_published_weights_have_one_place_each_and_go_back(name):
    pytest.importorskip("segmentation_models_pytorch")
    state = published(name, meta=True).state_dict()
    source = {key: np.zeros(value.shape, np.float32) for key, value in state.items()}
    entry = ENTRIES[name]
    ignore = () if name in TORCHVISION else entry.ignore
    variables = convert(
        source,
        entry.rules(),
        shapes_of(zoo.create(name, **with_aux(name)))[1],
        ignore=(*BOOKKEEPING, *ignore),
    )
    back = zoo.export_state_dict(name, variables)
    absent = {key for key in source if key not in back}
    assert {key: value.shape for key, value in back.items()} == {
        key: value.shape for key, value in source.items() if key not in absent
    }
    if name.startswith("pspnet"):  # stages that smp makes and never runs
        assert {key.split(".")[1] for key in absent} == {"layer3", "layer4"}
    else:
        assert not absent


@pytest.mark.parity
@pytest.mark.parametrize("name", [*TORCHVISION, *(name for name in SMP if not name.endswith(BIG))])
def test_full_size_equals_live_torch(name):
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_context_networks import calibrated, logits_of

    theirs, model, entry = published(name), zoo.create(name, **with_aux(name)), ENTRIES[name]
    source = calibrated(theirs, (64, 96))
    size = (75, 90) if name in TORCHVISION else (64, 96)
    images = np.random.default_rng(0).standard_normal((1, *size, 3)).astype(np.float32)
    target = shapes_of(model)[1]
    ignore = () if name in TORCHVISION else entry.ignore
    variables = convert(source, entry.rules(), target, ignore=(*BOOKKEEPING, *ignore))
    logits = in_double(jax.jit(functools.partial(model.apply, train=False)), variables, images)
    assert_close(name, logits, logits_of(theirs.double(), images.astype(np.float64)), relative=1e-6)


def state_dict_of(name, classes, **fields):
    """A state dict in the published names, of a narrow network; values from a seed."""
    target = shapes_of(zoo.create(name, num_classes=classes, **fields))[1]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
    named = weights.to_state_dict(zeros, ENTRIES[name].rules())
    return seeded_state_dict({key: value.shape for key, value in named.items()})


@pytest.mark.parametrize("aux_head", [True, False])
def test_zoo_loads_a_file_with_an_auxiliary_head(tmp_path, aux_head):
    fields = {"backbone": NARROW, "features": 4}
    source = state_dict_of("deeplabv3_resnet50", 5, aux_head=True, **fields)
    np.savez(tmp_path / "weights.npz", **source)
    load = functools.partial(
        zoo.load, "deeplabv3_resnet50", weights=tmp_path / "weights.npz", aux_head=aux_head, **fields
    )
    loaded = load()
    assert loaded.model.num_classes == 5
    assert loaded.preprocessing.resize == 520
    kernel = source["classifier.4.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(loaded.variables["params"]["head"]["kernel"], kernel)
    assert ("aux_head" in loaded.variables["params"]) == aux_head
    back = zoo.export_state_dict("deeplabv3_resnet50", loaded.variables)
    expected = {key: source[key] for key in source if aux_head or not key.startswith("aux")}
    assert back.keys() == expected.keys()
    for key, value in back.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_another_number_of_classes_renews_the_heads(tmp_path, caplog):
    fields = {"backbone": NARROW, "features": 4, "aux_head": True}
    source = state_dict_of("deeplabv3_resnet50", 5, **fields)
    np.savez(tmp_path / "weights.npz", **source)
    loaded = zoo.load("deeplabv3_resnet50", weights=tmp_path / "weights.npz", num_classes=2, **fields)
    assert set(loaded.initialised) == {
        "params/head/kernel", "params/head/bias", "params/aux_head/head/kernel", "params/aux_head/head/bias",
    }  # fmt: skip
    assert loaded.variables["params"]["aux_head"]["head"]["kernel"].shape[-1] == 2
    assert "has 5 classes, 2 were asked for" in caplog.text


@pytest.mark.parametrize("old", [False, True])
def test_smp_files_of_every_age_load(tmp_path, old):
    fields = {"backbone": NARROW, "features": 4}
    source = state_dict_of("deeplabv3_resnet34", 3, **fields)
    ages = {"decoder.aspp.": "decoder.0.", "decoder.conv.": "decoder.1.", "decoder.bn.": "decoder.2."}
    for new, before in ages.items() if old else ():
        source = {key.replace(new, before): value for key, value in source.items()}
    assert any(key.startswith("decoder.0.") for key in source) == old
    np.savez(tmp_path / "weights.npz", **source)
    loaded = zoo.load("deeplabv3_resnet34", weights=tmp_path / "weights.npz", **fields)
    assert loaded.model.num_classes == 3


def test_pspnet_leaves_out_the_stages_that_it_does_not_run(tmp_path):
    fields = {"backbone": {"features": (4, 8), "stem_features": 4}, "features": 4}
    source = state_dict_of("pspnet_resnet34", 3, **fields)
    source |= {f"encoder.layer{stage}.0.conv1.weight": np.zeros((8, 8, 3, 3), np.float32) for stage in (3, 4)}
    np.savez(tmp_path / "weights.npz", **source)
    loaded = zoo.load("pspnet_resnet34", weights=tmp_path / "weights.npz", **fields)
    stages = {path.split("/")[2] for path in flatten_paths(loaded.variables) if "stage" in path}
    assert {stage[:6] for stage in stages} == {"stage1", "stage2"}


def test_overrides_and_the_axis_reach_network_and_backbone():
    model = zoo.create(
        "deeplabv3plus_mobilenet_v2", num_classes=7, axis_name="data", dtype=jnp.bfloat16, separable=False,
        backbone={"width": 0.5, "output_stride": 8},
    )  # fmt: skip
    assert (model.num_classes, model.separable, model.dtype) == (7, False, jnp.bfloat16)
    assert (model.backbone.width, model.backbone.output_stride) == (0.5, 8)
    assert model.backbone.dilate_strided
    assert model.norm().axis_name == model.backbone.norm().axis_name == "data"
    fpn = zoo.create("fpn_resnet34", axis_name="data")
    assert fpn.backbone.norm().axis_name == "data"


@pytest.mark.parametrize(
    "name",
    [
        "lraspp_mobilenet_v3_large",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "fcn_resnet50",
                "deeplabv3_resnet50",
                "deeplabv3plus_resnet34",
                "pspnet_resnet34",
                "fpn_resnet34",
            )
        ),
    ],
)
def test_lowers_for_every_platform_with_a_batch_of_any_size(name):
    model = zoo.create(name, num_classes=3)
    variables = shapes_of(model)[1]
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, 45, 61, 3), jnp.float32)
    apply = jax.jit(functools.partial(model.apply, train=False))
    program = jax.export.export(apply, platforms=PLATFORMS)(variables, images)
    assert program.out_avals[0].shape == (batch, 45, 61, 3)


def test_every_network_names_the_classifier_of_its_backbone():
    for name, entry in ENTRIES.items():
        ours, theirs = zoo.create(name).backbone, zoo.create(entry.classifier).backbone
        dense = {"output_stride": 32, "dilate_strided": False, "taps": "last", "head_conv": False}
        same = {field: value for field, value in dense.items() if hasattr(ours, field)}
        if name.startswith("pspnet"):  # it reads the first two stages
            same |= {"blocks": theirs.blocks, "features": theirs.features}
        assert ours.clone(**same) == theirs, name


def filled(name, value, **fields):
    target = shapes_of(zoo.create(name, **fields))[1]
    return jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), target)


@pytest.mark.parametrize(
    ("name", "classifier", "body", "whole"),
    [
        ("lraspp_mobilenet_v3_large", "mobilenet_v3_large", {"width": 0.05}, {"width": 0.05}),
        (
            "pspnet_resnet34",
            "resnet34",
            {"blocks": (1, 2), "features": (4, 8), "stem_features": 4},
            {"blocks": (1, 2, 1, 1), "features": (4, 8, 8, 8), "stem_features": 4},
        ),
        ("deeplabv3_resnet50", "resnet50", GROWING, GROWING),
    ],
)
def test_a_classifier_starts_the_backbone_and_nothing_else(name, classifier, body, whole):
    network, published_one = filled(name, 0.0, backbone=body), filled(classifier, 1.0, backbone=whole)
    started, taken = take_from_classifier(network, published_one)
    assert jax.tree.structure(started) == jax.tree.structure(network)
    for path, leaf in flatten_paths(started).items():
        assert (leaf == ("/backbone/" in path)).all(), path
        assert (path in taken) == ("/backbone/" in path)
    # A backbone with more stages than the classifier's cannot start from it.
    if name.startswith("pspnet"):
        with pytest.raises(ValueError, match=r"stage3.* absent in the classifier"):
            take_from_classifier(
                filled("fpn_resnet34", 0.0, backbone=whole), filled(name, 1.0, backbone=body)
            )
