"""The data of a segmentation run, as options of a script."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CamVidFolder,
    ColourJitter,
    Compose,
    DigitScenes,
    EvalBatches,
    ImageMaskFolder,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomScale,
    Resize,
    TrainBatches,
    VOCSegmentation,
    compose,
    eval_batches,
    train_batches,
)
from jaxvision.pictures import camvid_palette, digit_scenes_palette, voc_palette


@dataclasses.dataclass(frozen=True)
class SegmentationData:
    """The images, and how they are varied."""

    source: Literal["digits", "camvid", "voc", "folder"] = "digits"
    """digits needs no files; the others are layouts of a folder."""
    root: Path | None = None
    """The folder."""
    size: tuple[int, int] = (64, 64)
    """Height and width that images are resized to."""
    batch_size: int = 8
    """Images a step, over all devices."""
    train_scenes: int = 20_000
    """Digit scenes to train on; they are made on the fly."""
    eval_scenes: int = 200
    """Digit scenes to validate on, and as many to test on."""
    digits_per_scene: tuple[int, int] = (2, 4)
    """Least and greatest number of digits in a scene."""
    digit_height: tuple[float, float] = (0.35, 0.6)
    """Least and greatest height of a digit, as a share of the scene's shorter side."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Training images are scaled by a factor between these, then cropped to the size."""
    flip: float | None = None
    """Probability of a horizontal flip; by default 0.5, and 0 for digits, which would be other signs."""
    jitter: float = 0.2
    """Greatest change of brightness, contrast and saturation."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from each channel, on a scale of 0 to 1."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Each channel is then divided by this."""
    workers: int = 0
    """Processes that read and vary images; 0 does it in a thread."""

    def open_sources(self) -> tuple[Any, Any, Any]:
        """The sources to train, to validate and to test on; a folder is tested on its validation part.

        Raises:
          FileNotFoundError: if the folder, or a part of its layout, is missing.
          ValueError: if no folder is given where one is needed, or its files do not fit together.
        """
        if self.source == "digits":
            counts = {"train": self.train_scenes, "val": self.eval_scenes, "test": self.eval_scenes}
            least, greatest = self.digits_per_scene
            train, val, test = (
                DigitScenes(
                    split,
                    size=self.size,
                    num_scenes=count,
                    min_digits=least,
                    max_digits=greatest,
                    scale=self.digit_height,
                )
                for split, count in counts.items()
            )
            return train, val, test
        if self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root FOLDER")
        if not self.root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root}: no such folder")
        layouts: dict[str, Callable[[Path, str], Any]] = {
            "camvid": CamVidFolder,
            "voc": VOCSegmentation,
            "folder": lambda root, split: ImageMaskFolder(root, split=split),
        }
        open_split = layouts[self.source]
        val = open_split(self.root, "val")
        return open_split(self.root, "train"), val, val

    def normalize(self) -> Normalize:
        """The normalisation of the images."""
        return Normalize(mean=self.mean, std=self.std)

    def train_transform(self) -> Compose:
        """Resizes, scales, crops, flips, changes colours, normalises."""
        steps: list[Any] = [Resize(self.size)]
        if self.scale != (1.0, 1.0):
            steps += [RandomScale(least=self.scale[0], greatest=self.scale[1]), RandomCrop(self.size)]
        flip = (0.0 if self.source == "digits" else 0.5) if self.flip is None else self.flip
        if flip > 0:
            steps.append(RandomHorizontalFlip(probability=flip))
        if self.jitter > 0:
            steps.append(ColourJitter(brightness=self.jitter, contrast=self.jitter, saturation=self.jitter))
        return compose(*steps, self.normalize())

    def eval_transform(self) -> Compose:
        """Resizes and normalises."""
        return compose(Resize(self.size), self.normalize())

    def batches(self, source: Any, *, seed: int) -> TrainBatches:
        """Shuffled, varied batches without end, of which the position can be saved."""
        return train_batches(
            source,
            self.train_transform(),
            batch_size=self.batch_size,
            seed=seed,
            num_workers=self.workers,
        )

    def ordered_batches(self, source: Any) -> EvalBatches:
        """Every image once, in order."""
        return eval_batches(
            source, self.eval_transform(), batch_size=self.batch_size, num_workers=self.workers
        )

    def palette(self) -> np.ndarray:
        """The colours of the classes, uint8 [256, 3]."""
        palettes = {"digits": digit_scenes_palette, "camvid": camvid_palette}
        return palettes.get(self.source, voc_palette)()
