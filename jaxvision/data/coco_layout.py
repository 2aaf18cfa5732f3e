"""Where COCO's files lie: which of its annotations of a part are there, and their pictures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from jaxvision.data.coco import CocoAnnotations, CocoPanoptic
from jaxvision.data.coco_stuff import CocoStuffMaps
from jaxvision.data.file_lists import find_folder
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["CocoKind", "open_coco"]

CocoKind = Literal["panoptic", "stuffthing", "instances", "stuff"]
"""Annotations of COCO: panoptic, maps of things and stuff, things as instances, or stuff alone."""
_KINDS: tuple[CocoKind, ...] = ("panoptic", "stuffthing", "instances", "stuff")


def open_coco(
    root: str | Path, split: str, *, annotations: CocoKind | None = None, skip_broken: bool = False
) -> SegmentationFolder:
    """A part of COCO in the layout it is published in.

    Pictures are in ``<part>/`` or ``images/<part>/``, where the part is ``train2017`` or just ``train``.
    Annotations are, in the order of preference:

    * panoptic: ``annotations/panoptic_<part>.json`` and the PNGs in the folder of that name;
    * stuffthing: pixel maps in ``stuffthingmaps/<part>/`` or ``annotations/<part>/``;
    * instances: ``annotations/instances_<part>.json``, with a background;
    * stuff: ``annotations/stuff_<part>.json``.

    Args:
      root: the folder with ``annotations``.
      split: "train" or "val", or the part in full, such as "train2017".
      annotations: which of them; by default the first that is there.
      skip_broken: leaves out broken images, and keeps what is wrong in ``broken``.

    Raises:
      FileNotFoundError: if there are no such annotations or pictures.
      ValueError: if the part could be several, or see the reader.
    """
    root = find_folder(Path(root))
    kinds = _KINDS if annotations is None else (annotations,)
    for kind in kinds:
        found = _stuff_maps(root, split) if kind == "stuffthing" else _json_file(root, split, kind)
        if found is None:
            continue
        part = found.name if kind == "stuffthing" else found.stem.split("_", 1)[1]
        images = _first_folder([root / part, root / "images" / part, root / "images"], f"pictures of {part}")
        if kind == "stuffthing":
            return CocoStuffMaps(images, found, skip_broken=skip_broken)
        if kind == "panoptic":
            return CocoPanoptic(images, found, skip_broken=skip_broken)
        background = "background" if kind == "instances" else None
        return CocoAnnotations(images, found, background=background, skip_broken=skip_broken)
    wanted = ", ".join(
        "stuffthingmaps/" if kind == "stuffthing" else f"annotations/{kind}_*" for kind in kinds
    )
    raise FileNotFoundError(f"{root}: no annotations of {split!r}, expected one of {wanted}; check the root")


def _json_file(root: Path, split: str, kind: str) -> Path | None:
    folder = root / "annotations"
    exact = folder / f"{kind}_{split}.json"
    return exact if exact.is_file() else _only(folder.glob(f"{kind}_{split}20*.json"), split)


def _stuff_maps(root: Path, split: str) -> Path | None:
    for folder in (root / "stuffthingmaps", root / "annotations"):
        if (folder / split).is_dir():
            return folder / split
        found = _only((path for path in folder.glob(f"{split}20*") if path.is_dir()), split)
        if found is not None:
            return found
    return None


def _only(paths: Iterable[Path], split: str) -> Path | None:
    found = sorted(paths)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{found[0].parent}: {split!r} could be {names}; name the part in full")
    return found[0] if found else None


def _first_folder(folders: Iterable[Path], what: str) -> Path:
    for folder in folders:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no folder of {what}, expected one of {', '.join(map(str, folders))}")
