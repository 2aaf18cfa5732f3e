"""COCO's annotations as masks: panoptic PNGs, and the polygons and run lengths of instances and stuff.

Classes are numbered in the order of their category ids, without gaps: id 1 of instances is index 1 after the
background, id 90 index 80.

References:
  Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; Caesar et al., COCO-Stuff, CVPR 2018;
  Kirillov et al., Panoptic Segmentation, CVPR 2019. The formats: https://cocodataset.org/#format-data
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import VOID, name_some
from jaxvision.data.coco_index import CocoImage, read_index
from jaxvision.data.file_lists import Problems, find_folder
from jaxvision.data.image_files import read_colours
from jaxvision.data.json_fields import checked, entry, flag, shown
from jaxvision.data.json_spans import read_items
from jaxvision.data.polygons import read_points
from jaxvision.data.run_lengths import fill_polygon, mask_of_runs, unpack_runs
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["CocoAnnotations", "CocoPanoptic"]


_UNKNOWN = (-1, -1)  # size of an image that is listed without


class _CocoFolder(SegmentationFolder):
    """Records whose annotations stand in one JSON file, in slices of it."""

    def __init__(
        self,
        path: Path,
        images: list[CocoImage],
        mask_paths: list[Path],
        *,
        class_names: tuple[str, ...],
        index_of: dict[int, int],
        broken: list[str],
    ) -> None:
        if not images:
            listing = "".join(f"\n  {problem}" for problem in broken[:5])
            raise ValueError(f"{path}: no image with annotations, expected at least one{listing}")
        pairs = [(image.name, image.path, mask) for image, mask in zip(images, mask_paths, strict=True)]
        super().__init__(pairs, class_names=class_names, broken=broken)
        self._path = path
        self._sizes = np.array([image.size or _UNKNOWN for image in images], np.int64)  # [N, 2]
        self._spans = np.concatenate([image.spans for image in images])  # [M, 2]
        self._ends = np.cumsum([len(image.spans) for image in images])  # [N]
        self._index_of = index_of

    def _annotations(self, index: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        """The annotations of a record, read from the file; checks the size of its picture."""
        listed = (int(self._sizes[index, 0]), int(self._sizes[index, 1]))
        if listed not in (_UNKNOWN, size):
            raise ValueError(
                f"{self._path}: {self.pairs[index][1].name} is listed as {listed[1]}x{listed[0]} (width x "
                f"height) but is {size[1]}x{size[0]}; take the picture that was annotated"
            )
        start = int(self._ends[index - 1]) if index else 0
        return read_items(self._path, self._spans[start : int(self._ends[index])])

    def _class_of(self, annotation: Mapping[str, Any], where: str) -> int:
        number = entry(annotation, "category_id", "an integer", where)
        if number not in self._index_of:
            known = name_some([str(key) for key in self._index_of])
            raise ValueError(f"{where}: category_id {number} is not listed, expected one of {known}")
        return self._index_of[number]


class CocoAnnotations(_CocoFolder):
    """``instances_*.json`` or ``stuff_*.json``: regions as polygons or run lengths, packed or not.

    A pixel in regions of one class has that class; in regions of different classes it is void, because the
    file does not say which is in front (torchvision's reference makes each overlap void, of one class too). A
    pixel of a crowd region (``iscrowd``) that is in no other region is void. All others are background.

    Args:
      images: the folder of the pictures.
      annotations: the JSON file.
      background: name of the class of pixels in no region, index 0; None makes them void, and leaves out the
        images without an annotation.
      skip_broken: leaves out broken images and annotations of no image, and keeps them in ``broken``. An
        image with a broken annotation is broken.

    Raises:
      FileNotFoundError: if the folder or the file is missing.
      ValueError: if the file is no such file, or, unless they are skipped, with a line for each broken entry.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        background: str | None = "background",
        skip_broken: bool = False,
    ) -> None:
        path, problems = Path(annotations), Problems(skip=skip_broken)
        index = read_index(
            path,
            Path(images),
            problems,
            note=lambda value, where: entry(value, "category_id", "an integer", where),
        )
        kept = []
        for image in index.images:
            unknown = sorted(set(image.notes) - index.index_of.keys())
            if unknown:
                problems.add(
                    f"{path}: {image.path.name} has annotations of category_id "
                    f"{name_some([*map(str, unknown)])}, which is not listed; list it or remove them"
                )
            elif background is not None or image.notes:
                kept.append(image)
        problems.stop(len(index.images) + len(problems.found), what="images and annotations")
        shift = background is not None
        super().__init__(
            path,
            kept,
            [path] * len(kept),
            class_names=((background,) if background is not None else ()) + index.class_names,
            index_of={number: i + shift for number, i in index.index_of.items()},
            broken=problems.found,
        )
        self._rest = 0 if shift else VOID

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        none = VOID + 1
        classes = np.full(size, none, np.int16)
        mixed, crowd = np.zeros(size, bool), np.zeros(size, bool)
        for number, annotation in enumerate(self._annotations(index, size)):
            where = f"{self._path}: annotation {number} of {self.pairs[index][1].name}"
            if annotation.get("id") is not None:
                where = f"{where} (id {shown(annotation['id'])})"
            region = read_region(annotation, size, where)
            if flag(annotation, "iscrowd", where):
                crowd |= region
                continue
            value = self._class_of(annotation, where)
            mixed |= region & (classes != none) & (classes != value)
            classes[region] = value
        mask = np.where(classes == none, np.where(crowd, VOID, self._rest), classes)
        return np.where(mixed, VOID, mask).astype(np.uint8)


class CocoPanoptic(_CocoFolder):
    """``panoptic_*.json`` and its PNGs, whose colours are segments: id = R + 256 G + 256^2 B.

    Each segment has the class of its category. Segments of a crowd (``iscrowd``) and pixels of id 0 are void.

    Args:
      images: the folder of the pictures.
      annotations: the JSON file.
      masks: the folder of the PNGs; by default the one beside the file that has its name.
      skip_broken: leaves out broken images and annotations, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder or the file is missing.
      ValueError: if the file is no such file, or, unless they are skipped, with a line for each broken entry,
        image without annotation, or annotation without PNG.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        masks: str | Path | None = None,
        skip_broken: bool = False,
    ) -> None:
        path, problems = Path(annotations), Problems(skip=skip_broken)
        folder = find_folder(path.with_suffix("") if masks is None else Path(masks))
        index = read_index(
            path, Path(images), problems, note=lambda value, where: entry(value, "file_name", "a text", where)
        )
        here = {mask.name for mask in folder.iterdir()}
        kept = []
        for image in index.images:
            if len(image.notes) == 1 and image.notes[0] in here:
                kept.append(image)
            elif len(image.notes) == 1:
                problems.add(
                    f"{path}: {shown(image.notes[0])} of {image.path.name}: no such file in {folder}; add it"
                )
            else:
                problems.add(f"{path}: {len(image.notes)} annotations of {image.path.name}, expected one")
        problems.stop(len(index.images) + len(problems.found), what="images and annotations")
        super().__init__(
            path,
            kept,
            [folder / image.notes[0] for image in kept],
            class_names=index.class_names,
            index_of=index.index_of,
            broken=problems.found,
        )

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        (annotation,) = self._annotations(index, size)
        png = self.pairs[index][2]
        where = f"{self._path}: segments_info of {png.name}"
        class_of = {0: VOID}
        for segment in entry(annotation, "segments_info", "a list", where):
            segment = checked(segment, "an object", where)
            number = entry(segment, "id", "an integer", where)
            if number in class_of:
                raise ValueError(f"{where}: the segment {number} comes twice or is 0; export the file anew")
            crowd = flag(segment, "iscrowd", where)
            class_of[number] = VOID if crowd else self._class_of(segment, where)
        colours = read_colours(png).astype(np.int64)
        return _classes_of_ids(colours @ np.array([1, 256, 256**2]), class_of, png)


def read_region(annotation: Mapping[str, Any], size: tuple[int, int], where: str) -> np.ndarray:
    """The region of an annotation, bool [H, W].

    Args:
      annotation: with ``segmentation``: polygons, or an object of ``size`` and ``counts``.
      size: height and width of the image.
      where: names the place in messages.

    Raises:
      ValueError: if it is something else, or does not fit the image.
    """
    if "segmentation" not in annotation:
        raise ValueError(
            f"{where}: 'segmentation' is missing, expected polygons or runs; export the file anew"
        )
    where, segmentation = f"{where}: segmentation", annotation["segmentation"]
    if isinstance(segmentation, list):
        return _region_of_polygons(segmentation, size, where)
    runs = checked(segmentation, "an object", f"{where} (neither polygons nor runs)")
    stated = [checked(side, "an integer", f"{where}: size") for side in entry(runs, "size", "a list", where)]
    if stated != list(size):
        raise ValueError(f"{where}: size {stated}, expected {list(size)}, that of the image; export it anew")
    try:
        counts = runs.get("counts")
        if isinstance(counts, str):
            return mask_of_runs(unpack_runs(counts), size)
        counts = checked(counts, "a list", "counts (neither a list nor packed)")
        return mask_of_runs([checked(count, "an integer", "counts") for count in counts], size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; export the file anew") from error


def _region_of_polygons(polygons: list[Any], size: tuple[int, int], where: str) -> np.ndarray:
    if not polygons:
        raise ValueError(f"{where}: no polygon, expected at least one; remove the annotation")
    region = np.zeros(size, bool)
    for number, polygon in enumerate(polygons):
        place = f"{where}[{number}]"
        numbers = checked(polygon, "a list", place)
        if len(numbers) < 6 or len(numbers) % 2:
            raise ValueError(
                f"{place}: {len(numbers)} numbers, expected x and y of at least 3 points; draw the polygon "
                "anew"
            )
        pairs = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        region |= fill_polygon(np.array(read_points(pairs, size, place)), size)
    return region


def _classes_of_ids(ids: np.ndarray, class_of: Mapping[int, int], path: Path) -> np.ndarray:
    """Segment ids [H, W] -> class indices uint8 [H, W]; the ids, but for 0, must be those that are listed."""
    listed = np.array(sorted(class_of))
    place = np.minimum(np.searchsorted(listed, ids), len(listed) - 1)
    unknown = ids[listed[place] != ids]
    if unknown.size:
        names = name_some([str(number) for number in np.unique(unknown)])
        raise ValueError(f"{path}: segments {names} are not in segments_info; export the files anew")
    absent = listed[np.bincount(place.ravel(), minlength=len(listed)) == 0]
    absent = absent[absent != 0]
    if absent.size:
        names = name_some([str(number) for number in absent])
        raise ValueError(f"{path}: segments {names} of segments_info have no pixel; export the files anew")
    classes = np.array([class_of[int(number)] for number in listed], np.uint8)
    return classes[place]
