"""``python -m jaxvision.inspect.gradcam resnet50 --weights FILE --image photo.jpg``: where it sees what."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.inspect.attribution import CAM_METHODS, grad_cam, saliency
from jaxvision.inspect.capture import list_layers
from jaxvision.inspect.opening import (
    Opened,
    add_arguments,
    as_maps,
    class_names,
    open_network,
    print_layers,
)
from jaxvision.pictures.heatmaps import colour_values, heatmap_overlay, sections_sheet
from jaxvision.pictures.masks import write_png


def main(arguments: Sequence[str]) -> int:
    """Draws image, heat map and both for the most probable classes; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print_layers(options) if options.list else _run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision.inspect.gradcam", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--layer", help="name or end of a name; by default the last map before the scores")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--top", type=int, default=3, help="as many of the most probable classes")
    chosen.add_argument("--classes", type=int, nargs="+", help="indices of classes")
    parser.add_argument("--method", choices=(*CAM_METHODS, "saliency"), default="grad_cam")
    parser.add_argument("--out", type=Path, default=Path("gradcam.png"), help="the picture")
    parser.add_argument("--alpha", type=float, default=0.6, help="opacity of the heat map")
    parser.add_argument("--cell", type=int, default=224, help="pixels of a picture")
    return parser


def _run(options: argparse.Namespace) -> None:
    opened = open_network(options)
    if opened.outputs is None or len(opened.outputs) not in (2, 4):
        raise ValueError(
            f"{options.name} gives {opened.outputs}, expected the scores of an image or its pixels"
        )
    scores = np.asarray(
        jax.jit(lambda v, x: opened.model.apply(v, x, train=False))(opened.variables, opened.images)
    )[0]  # [K] or [H, W, K]
    names = class_names(options.weights, scores.shape[-1])
    classes, shares, where = _choose_classes(scores, options)
    heats = _heat_maps(opened, np.asarray(classes, np.int32), where, options)
    sections = []
    for index, share, heat in zip(classes, shares, heats, strict=True):
        unit = f"{share:.0%} of the pixels" if opened.is_segmentation else f"{share:.3f}"
        print(f"{names[index]} ({index}): {unit}")
        pictures = [
            ("image", opened.picture),
            (options.method, colour_values(heat, colours="turbo")),
            ("overlay", heatmap_overlay(opened.picture, heat, alpha=options.alpha)),
        ]
        sections.append((f"{names[index]}: {unit}", pictures))
    print(f"picture: {write_png(options.out, sections_sheet(sections, columns=3, cell=options.cell))}")


def _choose_classes(
    scores: np.ndarray, options: argparse.Namespace
) -> tuple[list[int], list[float], np.ndarray | None]:
    """Classes, their probability or share of the pixels, and of pixels those that are predicted as each."""
    count = scores.shape[-1]
    wrong = [index for index in options.classes or () if not 0 <= index < count]
    if wrong or options.top < 1:
        raise ValueError(
            f"got --classes {wrong} and --top {options.top}, expected indices in 0..{count - 1} and 1 or more"
        )
    if scores.ndim == 1:
        powers = np.exp(scores - scores.max())
        shares, labels = powers / powers.sum(), None
    else:
        labels = scores.argmax(-1)
        shares = np.bincount(labels.ravel(), minlength=count) / labels.size
    order = np.argsort(-shares, kind="stable")
    best = [index for index in order[: options.top] if shares[index] > 0]
    chosen = [int(index) for index in options.classes or best]
    where = None if labels is None else np.stack([labels == index for index in chosen])
    if where is not None:
        where[~where.any((1, 2))] = True  # a class that is predicted nowhere is explained by all pixels
    return chosen, [float(shares[index]) for index in chosen], where


def _heat_maps(
    opened: Opened, classes: np.ndarray, where: np.ndarray | None, options: argparse.Namespace
) -> list[np.ndarray]:
    """A map ``[h, w]`` of each class, for the one image."""
    images = jnp.broadcast_to(opened.images, (len(classes), *opened.images.shape[1:]))
    labels = jnp.asarray(classes)
    pixels = None if where is None else jnp.asarray(where)
    if options.method == "saliency":

        def compute(variables: Any, images: jax.Array) -> jax.Array:
            return saliency(opened.model, variables, images, classes=labels, where=pixels, train=False)[0]

    else:
        layer = options.layer or _last_map(opened)

        def compute(variables: Any, images: jax.Array) -> jax.Array:
            return grad_cam(
                opened.model,
                variables,
                images,
                layer=layer,
                classes=labels,
                where=pixels,
                method=options.method,
                train=False,
            )[0]

    heats = np.asarray(jax.jit(compute)(opened.variables, images))
    maps = [as_maps(heat[..., None]) for heat in heats]
    return [heat[..., 0] for heat in maps if heat is not None]


def _last_map(opened: Opened) -> str:
    """The last layer of a few maps: of more than one pixel, and not the scores themselves."""
    layers = list_layers(opened.model, opened.variables, opened.images, train=False)
    scores = (opened.outputs or ())[-1:]
    maps = [
        name
        for name, struct in layers.items()
        if struct.ndim == 4 and struct.shape[1] * struct.shape[2] > 1 and struct.shape[3:] != scores
    ]
    if not maps:
        raise ValueError("the network has no layer of maps [N, h, w, C]; name one by --layer, see --list")
    if opened.is_segmentation:
        maps = [name for name in maps if name.rpartition("/")[2] == "c5"] or maps
    return maps[-1]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
