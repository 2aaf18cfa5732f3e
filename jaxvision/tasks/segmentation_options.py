"""The data of a segmentation run, as options of a script."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CamVidColours,
    CheckedMasks,
    CocoKind,
    ColourJitter,
    Compose,
    DigitScenes,
    EvalBatches,
    FormatOptions,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomScale,
    Resize,
    SegmentationSource,
    TrainBatches,
    check_foreground,
    compose,
    eval_batches,
    list_broken,
    open_camvid,
    open_parts,
    open_split,
    train_batches,
    without_broken,
)
from jaxvision.pictures import camvid_palette, cityscapes_palette, digit_scenes_palette, voc_palette
from jaxvision.tasks.device_images import prepare_on_device, split_transform
from jaxvision.training import Task, process_share


@dataclasses.dataclass(frozen=True)
class SegmentationData:
    """The images, and how they are varied."""

    source: Literal[
        "digits", "ade20k", "camvid", "cityscapes", "coco", "folder", "labelme", "voc", "voc_aug"
    ] = "digits"
    """digits needs no files; the others are layouts of a folder."""
    root: Path | None = None
    """The folder."""
    labels: Path | None = None
    """A file of class names, one a line, for labelme, folder and voc; by default those in the folder."""
    annotations: CocoKind | None = None
    """Which of COCO's annotations; by default the first of these that is there."""
    coarse: bool = False
    """Take the coarse annotations of Cityscapes."""
    val_fraction: float = 0.2
    """Share of the images to validate on, where the data has no parts of its own (labelme, folder)."""
    split_seed: int = 0
    """Another seed gives another split of them."""
    skip_broken: bool = False
    """Read all images once before the training, and leave out and list the broken ones, instead of stopping
    at the first of them."""
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
    on_device: bool = False
    """Send training images to the device as bytes, a quarter of the traffic, and normalise them there;
    flips and changes of colour that come last are done there too, with other draws than on the host."""

    def open_sources(self) -> tuple[Any, Any, Any]:
        """The sources to train, to validate and to test on.

        The last is the validation part again but for the digits, and for camvid and folder with a test.txt.

        Raises:
          FileNotFoundError: if the folder, or a part of its layout, is missing.
          ValueError: if no folder is given where one is needed, or its files do not fit together.
        """
        if self.source == "digits":
            return self._open_digits()
        if self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root FOLDER")
        if not self.root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root}: no such folder")
        options = FormatOptions(
            labels=self.labels,
            annotations=self.annotations,
            coarse=self.coarse,
            val_fraction=self.val_fraction,
            seed=self.split_seed,
            skip_broken=self.skip_broken,
        )
        train, val = open_parts(self.source, self.root, options)
        if self.skip_broken:
            train, val = _readable(train), _readable(val)
        if self.source not in ("camvid", "folder") or not (self.root / "test.txt").is_file():
            return train, val, val  # the test parts of the others have no masks
        test = open_split(self.source, self.root, "test", options)
        return train, val, _readable(test) if self.skip_broken else test

    def _open_digits(self) -> tuple[DigitScenes, DigitScenes, DigitScenes]:
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
        """Shuffled, varied batches without end, whose position can be saved; of each, this process's part."""
        transform = self.train_transform()
        return train_batches(
            source,
            split_transform(transform)[0] if self.on_device else transform,
            as_bytes=self.on_device,
            seed=seed,
            num_workers=self.workers,
            **process_share(self.batch_size),
        )

    def prepare_task(self, task: Task) -> Task:
        """The task for what :meth:`batches` gives."""
        return prepare_on_device(task, split_transform(self.train_transform())[1]) if self.on_device else task

    def ordered_batches(self, source: Any) -> EvalBatches:
        """Every image once, in order; this process's part of each batch."""
        share = process_share(self.batch_size)
        return eval_batches(source, self.eval_transform(), num_workers=self.workers, **share)

    def palette(self) -> np.ndarray:
        """The colours of the classes, uint8 [256, 3]."""
        if self.source == "camvid" and self.root is not None:
            with contextlib.suppress(FileNotFoundError):  # a network is used where its data is not
                source = open_camvid(self.root, "val", skip_broken=True)
                if isinstance(source, CamVidColours):
                    return source.palette
        palettes = {
            "digits": digit_scenes_palette,
            "camvid": camvid_palette,
            "cityscapes": cityscapes_palette,
        }
        return palettes.get(self.source, voc_palette)()


def checked_sources(data: SegmentationData) -> tuple[CheckedMasks, CheckedMasks, CheckedMasks, str]:
    """The sources of a run, whose masks are looked at, and which part of the data the last of them is.

    Args:
      data: the options.

    Returns:
      The sources to train, to validate and to test on; "test", or "val" if there is no test part.

    Raises:
      FileNotFoundError: as :meth:`SegmentationData.open_sources`.
      ValueError: so as well, or if the training masks hold no class but the first.
    """
    sources = data.open_sources()
    train, val, test = map(CheckedMasks, sources)
    if data.source != "digits":
        check_foreground(train)
    return train, val, test, "val" if sources[2] is sources[1] else "test"


def _readable(source: SegmentationSource) -> SegmentationSource:
    """The records that can be read; prints what is wrong with the others."""
    kept, report = without_broken(source)
    if report.broken:
        print(list_broken(report))
    return kept
