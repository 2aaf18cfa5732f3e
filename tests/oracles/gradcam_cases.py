"""Heat maps that our side and PyTorch compute with the same weights. No torch here."""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.network_cases import (
    CASES,
    REFERENCE,
    assert_close,
    our_model,
    rules_for,
    seeded_images,
    seeded_state_dict,
)

from jaxvision.inspect import grad_cam, saliency
from jaxvision.weights import BOOKKEEPING, convert


class CamCase(NamedTuple):
    """A network of ``network_cases``, a layer by our name, and PyTorch's module that gives the same."""

    network: str
    layer: str
    module: str
    methods: tuple[str, ...] = ("grad_cam",)
    segmentation: bool = False


ALL = ("grad_cam", "grad_cam++", "saliency")
# c3 and c4 are read by what takes them from the dict and by the stages behind them.
CAM_CASES = {
    "resnet_c5": CamCase("resnet_basic", "c5", "layer4", ALL),
    "resnet_c3": CamCase("resnet_basic", "backbone/c3", "layer2"),
    "fcn_c4": CamCase("fcn8s", "c4", "features.15", ("grad_cam", "saliency"), segmentation=True),
}
LIVE_CASES = {
    **CAM_CASES,
    "resnet_block": CamCase("resnet_basic", "stage1_block0", "layer1.0", ("grad_cam++",)),
    "fcn_c5": CamCase("fcn8s", "c5", "features.20", ("grad_cam++",), segmentation=True),
}


def seeded_classes(case: CamCase) -> np.ndarray:
    return np.array([2, 0], np.int32)


def seeded_pixels(case: CamCase) -> np.ndarray | None:
    """The pixels whose class is explained."""
    if not case.segmentation:
        return None
    return np.random.default_rng(3).random(CASES[case.network].shape[:3]) < 0.3


def our_maps(case: CamCase, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Each method's maps, from the weights that depend on these names and shapes."""
    network = CASES[case.network]
    model, images = our_model(network), jnp.asarray(seeded_images(network))
    target = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    variables = convert(seeded_state_dict(shapes), rules_for(network), target, ignore=BOOKKEEPING)
    shared = {"classes": jnp.asarray(seeded_classes(case)), "where": seeded_pixels(case), "train": False}

    @jax.jit
    def compute(variables: Any, images: jax.Array) -> dict[str, Any]:
        return {
            method: saliency(model, variables, images, **shared)
            if method == "saliency"
            else grad_cam(model, variables, images, layer=case.layer, method=method, **shared)
            for method in case.methods
        }

    found = compute(variables, images)
    logits = next(logits for _, logits in found.values())
    return {"logits": logits, **{name: heat for name, (heat, _) in found.items()}}


def check_against(case: CamCase, expected: dict[str, Any]) -> None:
    """Our maps against PyTorch's, to 1e-4 relative."""
    maps = our_maps(case, expected["shapes"])
    for name, wanted in expected.items():
        if name != "shapes":
            assert wanted.max() > 0, name
            assert_close(name, maps[name], wanted)


def recorded(name: str) -> dict[str, Any]:
    """What ``tests/reference/record_gradcam.py`` saved."""
    with np.load(REFERENCE / "gradcam.npz") as archive:
        shapes = json.loads(str(archive["header"]))["shapes"][name]
        found = {key.split("|")[1]: archive[key] for key in archive.files if key.startswith(f"{name}|")}
    return {"shapes": {key: tuple(shape) for key, shape in shapes.items()}, **found}
