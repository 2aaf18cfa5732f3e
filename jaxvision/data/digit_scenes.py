"""Scenes of real handwritten digits on cluttered backgrounds, composed on the fly: no download.

The digits are the 1,797 8x8 pictures that ship in scikit-learn (``load_digits``: the test part of
"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI, 1998). Each scene carries
what segmentation, detection, instance segmentation and classification need.
"""

import dataclasses
import functools
import operator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxvision.data import backgrounds

__all__ = ["DIGIT_SCENES_CLASSES", "DigitScenes", "digit_indices"]

DIGIT_SCENES_CLASSES = ("background", *(f"digit {digit}" for digit in range(10)))
"""Names of the 11 classes, by the value in the mask."""

_SPLITS = ("train", "val", "test")
_SHARES = (0.70, 0.15, 0.15)
_DEFAULT_SCENES = {"train": 4000, "val": 500, "test": 500}
_UPSAMPLING = 4  # the cached digits are this many times larger than 8x8
_BORDER = 1  # empty pixels of the 8x8 grid around each digit
_PLACEMENTS = 12  # positions tried for a digit before it is left out


def digit_indices(split: str) -> np.ndarray:
    """Indices into ``load_digits()`` of the pictures that a split may use: int64 [n], ascending.

    70 % / 15 % / 15 % of each class go to train, val and test. The assignment is fixed, so that no seed
    ever lets a test digit into a training scene.

    Raises:
      ValueError: if the split is not "train", "val" or "test".
    """
    from sklearn.datasets import load_digits

    return _stratified(load_digits().target, split)


def _stratified(targets: np.ndarray, split: str) -> np.ndarray:
    if split not in _SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(map(repr, _SPLITS))}")
    rng = np.random.default_rng(1797)
    chosen = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(targets == digit))
        ends = np.round(np.cumsum(_SHARES) * len(members)).astype(int)
        parts = np.split(members, ends[:-1])
        chosen.append(parts[_SPLITS.index(split)])
    return np.sort(np.concatenate(chosen))


class DigitFields(NamedTuple):
    """The digits of a split as smooth fields of ink.

    Attributes:
      fields: pictures, 8-bit, 4 times larger than 8x8.
      values: integers [n], which digit each is.
    """

    fields: list[Image.Image]
    values: np.ndarray


def digit_fields(split: str) -> DigitFields:
    """Reads the digits that a split may use.

    Raises:
      ValueError: as :func:`digit_indices`.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    chosen = _stratified(data.target, split)
    padded = np.pad(data.images[chosen], ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER)))
    side = padded.shape[1] * _UPSAMPLING
    fields = []
    for picture in padded.astype(np.float32) * np.float32(255 / 16):
        large = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        fields.append(Image.fromarray(np.clip(np.asarray(large), 0, 255).round().astype(np.uint8)))
    return DigitFields(fields, data.target[chosen])


def draw_digit(
    rng: np.random.Generator,
    digits: DigitFields,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    rotation: float,
    index: int | None = None,
) -> tuple[int, np.ndarray]:
    """A random digit and its ink, warped a little.

    Args:
      rng: draws the digit, its size, angle, proportions and pen.
      digits: to draw from.
      size: (H, W) of the scene.
      scale: (least, greatest) height as a share of the shorter side of the scene.
      rotation: greatest rotation in degrees, both ways.
      index: which of the digits it is; None draws that too.

    Returns:
      The digit, and its ink, float32 [h, w] in 0..1, cropped to the ink and to the size of the scene.
    """
    chosen = int(rng.integers(len(digits.values))) if index is None else index
    zoom = rng.uniform(*scale) * min(size) / 8  # pixels of the scene per pixel of the 8x8 grid
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    aspect, slant = rng.uniform(0.85, 1.15), rng.uniform(-0.15, 0.15)
    side = int(np.ceil(zoom * (8 + 2 * _BORDER) * (abs(np.cos(angle)) + abs(np.sin(angle)))))
    # Pillow wants the map from output to input coordinates, about the centres of both.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inverse = np.array([[aspect, slant], [0, 1]]) @ turn * (_UPSAMPLING / zoom)
    offset = (8 + 2 * _BORDER) * _UPSAMPLING / 2 - inverse @ (np.full(2, side) / 2)
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    warped = digits.fields[chosen].transform(
        (side, side), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )
    # The 8x8 pictures hold grey ramps one grid pixel wide. Cutting the smooth field at a level with an
    # edge about two scene pixels wide gives pen strokes; a lower level gives a broader pen.
    level, gain = rng.uniform(0.35, 0.47), max(1.5, zoom / 2)
    field = np.asarray(warped, np.float32) * np.float32(1 / 255)
    ink = np.clip(np.float32(0.5) + np.float32(gain) * (field - np.float32(level)), 0, 1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    height, width = size
    value = int(digits.values[chosen])
    return value, ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][:height, :width]


def contrasting_colour(
    rng: np.random.Generator, behind: np.ndarray, *, contrast: tuple[float, float]
) -> np.ndarray:
    """A colour, float32 [3], lighter or darker than the mean of what is behind it.

    Args:
      rng: draws it.
      behind: float32 [h, w, 3] in 0..255.
      contrast: (least, greatest) difference in luma, as a share of the full range.
    """
    level = float(backgrounds.luminance(behind.mean((0, 1))))
    difference = 255 * rng.uniform(*contrast)
    lighter, darker = level + difference, level - difference
    fits = [target for target in (lighter, darker) if 0 <= target <= 255]
    if not fits:  # as dark or as light as can be
        fits = [0.0 if level > 127 else 255.0]
    target = fits[int(rng.integers(len(fits)))]
    return backgrounds.random_colour(rng, target)


def pixel_noise(rng: np.random.Generator, size: tuple[int, int], *, greatest: float) -> np.ndarray:
    """Triangular noise, float32 [H, W, 3], made from random bytes: ten times faster than normal draws.

    Args:
      rng: draws it.
      size: (H, W).
      greatest: its amplitude is up to this share of the full range.
    """
    amplitude = np.float32(rng.uniform(0, greatest))
    values = np.frombuffer(rng.bytes(2 * 3 * size[0] * size[1]), np.uint8)
    pair = values.reshape(2, *size, 3).astype(np.float32)
    return (pair[0] - pair[1]) * amplitude


@dataclasses.dataclass(frozen=True)
class DigitScenes:
    """A random-access source of scenes: ``len(scenes)`` of them, ``scenes[index]`` makes one.

    A scene depends on the settings, the seed, the split and the index alone, not on the order of access
    nor on the process. Train, val and test are made from disjoint digit pictures (:func:`digit_indices`).

    A record is a dict of

    * ``image`` uint8 [H, W, 3], RGB;
    * ``mask`` uint8 [H, W]: 0 background, 1..10 the digits 0..9 (``DIGIT_SCENES_CLASSES``); a pixel
      belongs to a digit where at least half of it is covered by ink;
    * ``boxes`` float32 [M, 4], xyxy in pixels, tight around the visible ink (right and lower edge exclusive);
    * ``labels`` int32 [M], 1..10 as in the mask;
    * ``instance_masks`` bool [M, H, W], the visible part of each digit, from back to front.

    Digits that others hide fully are left out, so 1 <= M <= ``max_digits``.

    Args:
      split: "train", "val" or "test".
      size: (H, W) in pixels, each at least 32.
      num_scenes: length of the source; by default 4000 for train, 500 for val and test.
      seed: other seeds give other scenes.
      min_digits: least number of digits drawn (fewer where no room is left).
      max_digits: greatest number of digits drawn.
      scale: (least, greatest) height of a digit as a share of the shorter side of the scene.
      rotation: greatest rotation in degrees, both ways; far above 20 a 6 is hard to tell from a 9.
      max_overlap: greatest share of the smaller of two digits' boxes that the other may cover.
      contrast: (least, greatest) difference in luma between a digit and what is behind it, as a share of
        the full range; the digit may be lighter or darker.
      clutter: 0 (plain) to 1: strength of the texture and number of shapes that are not digits.
      noise: greatest amplitude of the pixel noise, as a share of the full range.

    Raises:
      ValueError: if a setting is out of its range.
    """

    split: str
    _: dataclasses.KW_ONLY
    size: tuple[int, int] = (96, 96)
    num_scenes: int | None = None
    seed: int = 0
    min_digits: int = 2
    max_digits: int = 6
    scale: tuple[float, float] = (0.22, 0.5)
    rotation: float = 20.0
    max_overlap: float = 0.25
    contrast: tuple[float, float] = (0.3, 0.8)
    clutter: float = 0.5
    noise: float = 0.06

    def __post_init__(self) -> None:
        requirements = {
            f"split one of {', '.join(_SPLITS)}": self.split in _SPLITS,
            "size (H, W), both at least 32": len(self.size) == 2 and min(self.size) >= 32,
            "num_scenes at least 1": self.num_scenes is None or self.num_scenes >= 1,
            "seed at least 0": self.seed >= 0,
            "1 <= min_digits <= max_digits": 1 <= self.min_digits <= self.max_digits,
            "0.1 <= least scale <= greatest scale <= 0.75": 0.1 <= self.scale[0] <= self.scale[1] <= 0.75,
            "rotation in 0..180": 0 <= self.rotation <= 180,
            "max_overlap in 0..1": 0 <= self.max_overlap <= 1,
            "0 <= least contrast <= greatest contrast <= 1": 0 <= self.contrast[0] <= self.contrast[1] <= 1,
            "clutter in 0..1": 0 <= self.clutter <= 1,
            "noise in 0..1": 0 <= self.noise <= 1,
        }
        broken = [requirement for requirement, holds in requirements.items() if not holds]
        if broken:
            raise ValueError(f"DigitScenes: got {self}, expected {'; '.join(broken)}")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by the value in the mask."""
        return DIGIT_SCENES_CLASSES

    @property
    def num_classes(self) -> int:
        """11: the background and ten digits."""
        return len(DIGIT_SCENES_CLASSES)

    def __len__(self) -> int:
        return _DEFAULT_SCENES[self.split] if self.num_scenes is None else self.num_scenes

    @functools.cached_property
    def _digits(self) -> DigitFields:
        return digit_fields(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, _SPLITS.index(self.split), index % len(self)])
        image = backgrounds.textured(rng, self.size, strength=self.clutter)
        image = backgrounds.draw_clutter(rng, image, amount=round(self.clutter * rng.uniform(4, 20)))
        owner = np.full(self.size, -1, np.int16)  # which digit is visible in a pixel, -1 for none
        digits: list[int] = []
        boxes: list[tuple[int, int, int, int]] = []
        for _ in range(int(rng.integers(self.min_digits, self.max_digits + 1))):
            digit, ink = draw_digit(
                rng, self._digits, size=self.size, scale=self.scale, rotation=self.rotation
            )
            box = self._place(rng, ink.shape, boxes)
            if box is None:
                continue
            y0, x0, y1, x1 = box
            behind = image[y0:y1, x0:x1]
            colour = contrasting_colour(rng, behind, contrast=self.contrast)
            image[y0:y1, x0:x1] = behind + ink[..., None] * (colour - behind)
            owner[y0:y1, x0:x1][ink > 0.5] = len(digits)
            digits.append(digit)
            boxes.append(box)
        image += pixel_noise(rng, self.size, greatest=self.noise)
        return _record(image, owner, np.array(digits))

    def _place(
        self, rng: np.random.Generator, shape: tuple[int, ...], boxes: list[tuple[int, int, int, int]]
    ) -> tuple[int, int, int, int] | None:
        """A box (y0, x0, y1, x1) of the given shape that overlaps none of the others too much, or None."""
        for _ in range(_PLACEMENTS):
            y0 = int(rng.integers(self.size[0] - shape[0] + 1))
            x0 = int(rng.integers(self.size[1] - shape[1] + 1))
            box = (y0, x0, y0 + shape[0], x0 + shape[1])
            if all(_overlap(box, other) <= self.max_overlap for other in boxes):
                return box
        return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Area of the intersection of two boxes over the area of the smaller one."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return height * width / smaller


def _record(image: np.ndarray, owner: np.ndarray, digits: np.ndarray) -> dict[str, Any]:
    """Image float32 [H, W, 3], visible digit of each pixel int16 [H, W], values [M] -> the record."""
    instance_masks = owner == np.arange(len(digits))[:, None, None]  # [M, H, W]
    visible = instance_masks.any((1, 2))
    instance_masks = instance_masks[visible]
    classes = np.concatenate([digits + 1, [0]]).astype(np.uint8)  # owner -1 is the last: background
    boxes = np.zeros((len(instance_masks), 4), np.float32)
    for box, mask in zip(boxes, instance_masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return {
        "image": np.clip(image, 0, 255).astype(np.uint8),
        "mask": classes[owner],
        "boxes": boxes,
        "labels": (digits[visible] + 1).astype(np.int32),
        "instance_masks": instance_masks,
    }
