"""The data of a segmentation run, as options of a script."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
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
    has_test_part,
    list_broken,
    open_parts,
    palette_of,
    train_batches,
    without_broken,
)
from jaxvision.data.records import Transform
from jaxvision.tasks.device_images import prepare_on_device, split_transform
from jaxvision.training import Task, process_share
from jaxvision.weights import Preprocessing

_DIGITS_SIZE, _SIZE = (48, 48), (256, 256)


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
    unlabelled: Literal["background", "void"] = "background"
    """What pixels without a shape of labelme are."""
    annotations: CocoKind | None = None
    """Which of COCO's annotations; by default the first of these that is there."""
    coarse: bool = False
    """Take the coarse annotations of Cityscapes."""
    drawn: bool = False
    """Draw the polygons of Cityscapes even if there are masks."""
    grouped: bool = False
    """Take the 11 classes of CamVid that are scored, instead of all those of its masks of colours."""
    unlisted_is_void: bool = False
    """Take a colour that is not in CamVid's table of colours for void, instead of stopping."""
    val_fraction: float = 0.2
    """Share of the images to validate on, where the data has no parts of its own: labelme; folder, and CamVid
    as published, without val.txt."""
    split_seed: int = 0
    """Another seed gives another split of them."""
    skip_broken: bool = False
    """Read all images once before the training, and leave out and list the broken ones, instead of stopping
    at the first of them."""
    size: tuple[int, int] | None = None
    """Height and width that images are resized to; by default 256 256, for digits 48 48, and their own size
    beside --data.crop."""
    crop: tuple[int, int] | None = None
    """Train on random parts of this height and width. Of images that are not resized, validation looks at
    the middle, and the last evaluation at the whole, in windows."""
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
    """Training images are scaled by a factor between these, then cropped, to the size if to nothing else."""
    flip: float | None = None
    """Probability of a horizontal flip; by default 0.5, and 0 for digits, which would be other signs."""
    jitter: float = 0.2
    """Greatest change of brightness, contrast and saturation."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel, on a scale of 0 to 1; by default what the network's weights expect."""
    std: tuple[float, float, float] | None = None
    """Each channel is then divided by this; by default what the network's weights expect."""
    workers: int = 0
    """Processes that read and vary images; 0 does it in a thread."""
    on_device: bool = False
    """Send training images to the device as bytes, a quarter of the traffic, and normalise them there;
    flips and changes of colour that come last are done there too, with other draws than on the host."""

    def __post_init__(self) -> None:
        if self.crop is None or self.resize is None:
            return
        largest = [self.scale[1] * side for side in self.resize]
        if any(side > most for side, most in zip(self.crop, largest, strict=True)):
            raise ValueError(
                f"--data.crop: got {self.crop}, but images are resized to {self.resize}, and scaled by at "
                f"most {self.scale[1]:g}; crop less, or give a larger --data.size"
            )

    @property
    def resize(self) -> tuple[int, int] | None:
        """(H, W) that images are resized to; None for crops of images at their own size."""
        if self.size is not None or self.source == "digits":
            return self.size or _DIGITS_SIZE
        return _SIZE if self.crop is None else None

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) that the network is trained at."""
        size = self.crop or self.resize
        assert size is not None
        return size

    @property
    def size_in_words(self) -> str:
        """What becomes of the size of images, in words."""
        words = [] if self.resize is None else ["resized to {} x {} (--data.size)".format(*self.resize)]
        if self.crop is not None:
            words.append("in crops of {} x {} (--data.crop)".format(*self.crop))
        return ", ".join(words)

    def open_sources(self) -> tuple[Any, Any, Any]:
        """The sources to train, to validate and to test on.

        The last is the validation part again where there is no test part with masks.

        Raises:
          FileNotFoundError: if the folder, or a part of its layout, is missing.
          ValueError: if no folder is given where one is needed, or its files do not fit together.
        """
        parts = self._open_parts(None)
        return parts["train"], parts["val"], parts.get("test", parts["val"])

    def open_part(self, part: Literal["train", "val", "test"]) -> tuple[Any, str]:
        """One part alone; no other is looked at.

        Returns:
          The source, and which part it is: "val" for "test" where there is no test part with masks.

        Raises:
          FileNotFoundError: as :meth:`open_sources`.
          ValueError: so as well.
        """
        found: str = part
        if part == "test" and self.source != "digits" and self.root is not None:
            found = "test" if has_test_part(self.source, self.root) else "val"
        return self._open_parts((found,))[found], found

    def _open_parts(self, parts: Sequence[str] | None) -> dict[str, Any]:
        """The parts of these names; by default all that there are."""
        if self.source == "digits":
            return {part: self._open_digits(part) for part in parts or ("train", "val", "test")}
        if self.root is None:
            raise ValueError(f"--data.source {self.source} needs --data.root FOLDER")
        if not self.root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root}: no such folder")
        own = {name: getattr(self, name) for name in FormatOptions._fields if name != "seed"}
        options = FormatOptions(**own, seed=self.split_seed)
        opened = open_parts(self.source, self.root, options, parts=parts)
        return {part: _readable(source) for part, source in opened.items()} if self.skip_broken else opened

    def _open_digits(self, split: str) -> DigitScenes:
        least, greatest = self.digits_per_scene
        return DigitScenes(
            split,
            size=self.size or _DIGITS_SIZE,
            num_scenes=self.train_scenes if split == "train" else self.eval_scenes,
            min_digits=least,
            max_digits=greatest,
            scale=self.digit_height,
        )

    def resolved(self, expected: Preprocessing) -> "SegmentationData":
        """The options with nothing left open: the size, the mean and the deviation that the weights expect.

        Args:
          expected: by the network's weights.

        Raises:
          ValueError: if they are of clips, of another order of channels, or not of three.
        """
        if expected.channel_order != "rgb" or len(expected.input_shape) != 3 or len(expected.mean) != 3:
            raise ValueError(
                f"the weights expect inputs of shape {list(expected.input_shape)} in "
                f"{expected.channel_order}, but images are prepared as [H, W, 3] in rgb; start from others"
            )
        red, green, blue = self.mean or expected.mean
        red_std, green_std, blue_std = self.std or expected.std
        return dataclasses.replace(
            self, size=self.resize, mean=(red, green, blue), std=(red_std, green_std, blue_std)
        )

    def preprocessing(self) -> Preprocessing:
        """How the network expects images, for the file of its weights."""
        normalize = self.normalize()
        if self.resize is None:
            return Preprocessing(self.image_size, None, normalize.mean, normalize.std)
        return Preprocessing(self.resize, min(self.resize), normalize.mean, normalize.std)

    def normalize(self) -> Normalize:
        """The normalisation of the images."""
        return Normalize(mean=self.mean or IMAGENET_MEAN, std=self.std or IMAGENET_STD)

    def train_transform(self) -> Compose:
        """Resizes, scales, crops, flips, changes colours, normalises."""
        steps: list[Any] = [] if self.resize is None else [Resize(self.resize)]
        if self.scale != (1.0, 1.0):
            steps.append(RandomScale(least=self.scale[0], greatest=self.scale[1]))
        if self.crop is not None or self.scale != (1.0, 1.0):
            steps.append(RandomCrop(self.image_size))
        flip = (0.0 if self.source == "digits" else 0.5) if self.flip is None else self.flip
        if flip > 0:
            steps.append(RandomHorizontalFlip(probability=flip))
        if self.jitter > 0:
            steps.append(ColourJitter(brightness=self.jitter, contrast=self.jitter, saturation=self.jitter))
        return compose(*steps, self.normalize())

    def eval_transform(self) -> Compose:
        """Resizes, or cuts out the middle of what is not resized, and normalises."""
        return compose(self.fit(), self.normalize())

    def fit(self) -> Transform:
        """Brings an image that is looked at whole to a size that all of a batch have."""
        if self.resize is not None:
            return Resize(self.resize)
        # The border of a small image is that of the training.
        return CenterCrop(self.image_size, fill=RandomCrop.fill)

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
        return palette_of(self.source, root=self.root, grouped=self.grouped)


def checked_sources(data: SegmentationData) -> tuple[CheckedMasks, CheckedMasks, CheckedMasks, str]:
    """The sources of a run, whose masks are looked at, and which part of the data the last of them is.

    Args:
      data: the options.

    Returns:
      The sources to train, to validate and to test on; "test", or "val" if there is no test part.

    Raises:
      FileNotFoundError: as :meth:`SegmentationData.open_sources`.
      ValueError: so as well, or if the training masks hold nothing but index 0 and 255.
    """
    sources = data.open_sources()
    train, val, test = map(CheckedMasks, sources)
    if data.source != "digits" and not check_foreground(train):
        print(f"nothing but {train.class_names[0]!r} in the training masks looked at: is another class rare?")
    return train, val, test, "val" if sources[2] is sources[1] else "test"


def _readable(source: SegmentationSource) -> SegmentationSource:
    """The records that can be read; prints what is wrong with the others."""
    kept, report = without_broken(source)
    if report.broken:
        print(list_broken(report))
    return kept
