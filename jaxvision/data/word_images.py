"""Pictures of single words or numbers with what is written on them: digit strings made here, or a CSV file.

A reader is a random-access source: ``len(source)`` records, ``source[index]`` is a dict of ``image`` uint8
[H, W, 3], ``text`` str and ``name`` str. ``source.texts`` tells all texts without opening a picture.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from jaxvision.data import backgrounds
from jaxvision.data.classification_sources import labelled_rows
from jaxvision.data.digit_scenes import (
    DigitFields,
    contrasting_colour,
    digit_fields,
    draw_digit,
    pixel_noise,
)
from jaxvision.data.image_files import read_image

__all__ = ["CsvWords", "DigitStrings", "WordSource", "fit_word"]

_SPLITS = ("train", "val", "test")
_DEFAULT_STRINGS = {"train": 12000, "val": 500, "test": 1000}
_MARGIN = 2  # pixels that stay free at the left and right of a string


class WordSource(Protocol):
    """A source of records with ``image``, ``text`` and ``name`` that knows its texts beforehand."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each record."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The record at a position."""


@dataclasses.dataclass(frozen=True)
class DigitStrings:
    """Strings of real handwritten digits on textured backgrounds, composed on the fly: no download.

    A string depends on the settings, the seed, the split and the index alone. Train, val and test are made of
    disjoint pictures of digits (:func:`jaxvision.data.digit_indices`).

    Args:
      split: "train", "val" or "test".
      size: (H, W) in pixels, at least 16 high and 16 a digit wide.
      num_strings: length of the source; by default 12000 for train, 500 for val and 1000 for test.
      seed: other seeds give other strings.
      min_digits: least number of digits.
      max_digits: greatest number of digits.
      scale: (least, greatest) height of a digit as a share of the height.
      rotation: greatest rotation of a digit in degrees, both ways.
      contrast: (least, greatest) difference in luma between digits and what is behind them.
      clutter: 0 (plain) to 1: strength of the texture.
      noise: greatest amplitude of the pixel noise, as a share of the full range.

    Raises:
      ValueError: if a setting is out of its range.
    """

    split: str
    _: dataclasses.KW_ONLY
    size: tuple[int, int] = (32, 128)
    num_strings: int | None = None
    seed: int = 0
    min_digits: int = 1
    max_digits: int = 5
    scale: tuple[float, float] = (0.6, 0.8)
    rotation: float = 10.0
    contrast: tuple[float, float] = (0.35, 0.8)
    clutter: float = 0.3
    noise: float = 0.05

    def __post_init__(self) -> None:
        requirements = {
            f"split one of {', '.join(_SPLITS)}": self.split in _SPLITS,
            "1 <= min_digits <= max_digits": 1 <= self.min_digits <= self.max_digits,
            "size (H, W), at least 16 high and 16 a digit wide": (
                len(self.size) == 2 and self.size[0] >= 16 and self.size[1] >= 16 * self.max_digits
            ),
            "num_strings at least 1": self.num_strings is None or self.num_strings >= 1,
            "seed at least 0": self.seed >= 0,
            "0.1 <= least scale <= greatest scale <= 1": 0.1 <= self.scale[0] <= self.scale[1] <= 1,
            "rotation in 0..180": 0 <= self.rotation <= 180,
            "0 <= least contrast <= greatest contrast <= 1": 0 <= self.contrast[0] <= self.contrast[1] <= 1,
            "clutter and noise in 0..1": 0 <= self.clutter <= 1 and 0 <= self.noise <= 1,
        }
        broken = [requirement for requirement, holds in requirements.items() if not holds]
        if broken:
            raise ValueError(f"DigitStrings: got {self}, expected {'; '.join(broken)}")

    def __len__(self) -> int:
        return _DEFAULT_STRINGS[self.split] if self.num_strings is None else self.num_strings

    @functools.cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each string."""
        values = self._digits.values
        return tuple(_text(values[self._choose(index)[1]]) for index in range(len(self)))

    @functools.cached_property
    def _digits(self) -> DigitFields:
        return digit_fields(self.split)

    def _choose(self, index: int) -> tuple[np.random.Generator, np.ndarray]:
        """The generator of a string, and the pictures that it has drawn first."""
        rng = np.random.default_rng([self.seed, _SPLITS.index(self.split), index % len(self)])
        count = int(rng.integers(self.min_digits, self.max_digits + 1))
        return rng, rng.integers(len(self._digits.values), size=count)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"string {index} of {len(self)}")
        rng, chosen = self._choose(index)
        inks = [self._draw(rng, int(place)) for place in chosen]
        row = self._row(rng, inks)
        image = backgrounds.textured(rng, self.size, strength=self.clutter)
        left = int(rng.integers(_MARGIN, self.size[1] - row.shape[1] - _MARGIN + 1))
        behind = image[:, left : left + row.shape[1]]
        colour = contrasting_colour(rng, behind, contrast=self.contrast)
        image[:, left : left + row.shape[1]] = behind + row[..., None] * (colour - behind)
        image += pixel_noise(rng, self.size, greatest=self.noise)
        image = np.clip(image, 0, 255).astype(np.uint8)
        text = _text(self._digits.values[chosen])
        return {"image": image, "text": text, "name": f"{self.split}{index % len(self)}"}

    def _draw(self, rng: np.random.Generator, place: int) -> np.ndarray:
        size, scale, rotation = self.size, self.scale, self.rotation
        return draw_digit(rng, self._digits, size=size, scale=scale, rotation=rotation, index=place)[1]

    def _row(self, rng: np.random.Generator, inks: list[np.ndarray]) -> np.ndarray:
        """The digits side by side, float32 [H, w] with w at most the width between the margins."""
        height, width = self.size[0], self.size[1] - 2 * _MARGIN
        parts = []
        for number, ink in enumerate(inks):
            top = int(rng.integers(height - ink.shape[0] + 1))
            below = height - ink.shape[0] - top
            gap = int(rng.integers(1, 5)) if number else 0
            parts.append(np.pad(ink, ((top, below), (gap, 0))))
        row = np.concatenate(parts, axis=1)
        if row.shape[1] <= width:
            return row
        return np.asarray(Image.fromarray(row).resize((width, height), Image.Resampling.BILINEAR))


def _text(digits: np.ndarray) -> str:
    return "".join(map(str, digits))


class CsvWords:
    """A CSV file with a header, one line a picture: its path below a root and what is written on it.

    Args:
      path: the CSV file, in UTF-8.
      root: the folder that the paths are relative to.
      image_column: header of the column of paths.
      text_column: header of the column of texts.

    Raises:
      FileNotFoundError: if the CSV file, the root or a picture is missing; the line is named.
      ValueError: if a column is missing, a line lacks a value, or there is no line; the line is named.
    """

    def __init__(
        self, path: str | Path, *, root: str | Path, image_column: str = "image", text_column: str = "text"
    ) -> None:
        path, self._root = Path(path), Path(root)
        for needed, exists in ((path, path.is_file()), (self._root, self._root.is_dir())):
            if not exists:
                raise FileNotFoundError(f"{needed}: no such {'file' if needed is path else 'folder'}")
        rows = labelled_rows(path, image_column, text_column, kind="image")
        for line, name, _ in rows:
            if not (self._root / name).is_file():
                raise FileNotFoundError(
                    f"{path}, line {line}: {self._root / name}: no such file; check the root"
                )
        self._names = tuple(name for _, name, _ in rows)
        self._texts = tuple(text for _, _, text in rows)

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each picture."""
        return self._texts

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        name = self._names[index]
        return {"image": read_image(self._root / name), "text": self._texts[index], "name": name}


def fit_word(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture of a word in grey at one size: scaled to the height, filled up at the right.

    The proportions stay, but for a word too long for the width, which is squeezed. What is filled up has the
    median of the picture.

    Args:
      image: uint8 ``[h, w, 3]`` or grey ``[h, w]``.
      size: (H, W).

    Returns:
      uint8 ``[H, W]``.

    Raises:
      ValueError: for another shape or dtype, or a picture without a pixel.

    >>> fit_word(np.zeros((16, 20, 3), np.uint8), (32, 100)).shape
    (32, 100)
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] != 3):
        raise ValueError(f"image: got {image.dtype} {list(image.shape)}, expected uint8 [h, w, 3] or [h, w]")
    if 0 in image.shape:
        raise ValueError(f"image: got {list(image.shape)}, expected at least one pixel; leave it out")
    height, width = size
    grey = Image.fromarray(image).convert("L")
    wide = min(max(round(grey.width * height / grey.height), 1), width)
    scaled = np.asarray(grey.resize((wide, height), Image.Resampling.BILINEAR))
    filled = np.full(size, np.median(scaled), np.uint8)
    filled[:, :wide] = scaled
    return filled
