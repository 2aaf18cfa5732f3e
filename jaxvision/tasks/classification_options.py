"""The data and the loss of a classification run, as options of a script."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxvision.core import name_some, refuse_unread
from jaxvision.data import (
    ColourJitter,
    Compose,
    CsvImages,
    EvalBatches,
    ImageFolder,
    Joined,
    LabelledSource,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Subset,
    TrainBatches,
    compose,
    digit_images,
    eval_batches,
    eval_transform,
    read_image_arrays,
    stratified_split,
    train_batches,
)
from jaxvision.tasks.classification import ClassificationLoss
from jaxvision.tasks.device_images import prepare_on_device, split_transform
from jaxvision.tasks.segmentation_losses import check_class_weights
from jaxvision.training import Task, process_share
from jaxvision.weights import Preprocessing

_DIGITS_SIZE = (16, 16)  # twice their own 8 x 8
_PADDING = 1 / 8  # of the side: 4 pixels of 32, as He et al. 2016, section 4.2

_READ_BY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "source": {
        "root": ("folder", "csv", "arrays"),
        **dict.fromkeys(("val_csv", "test_csv", "image_root", "columns"), ("csv",)),
        "val_share": ("folder", "csv", "arrays"),
        "test_share": ("folder", "csv"),
    },
    "crop": {"padding": ("pad",), "crop_scale": ("random_resized",)},
}
"""Fields of :class:`ClassificationData` that only some values of another one read."""


class Parts(NamedTuple):
    """The parts of a data set.

    Attributes:
      train: to train on.
      validation: to choose by.
      test: to report; the validation part itself where there is no other.
    """

    train: LabelledSource
    validation: LabelledSource
    test: LabelledSource

    @property
    def is_tested_apart(self) -> bool:
        """Whether the test part is another than the validation part."""
        return self.test is not self.validation

    def pool(self) -> LabelledSource:
        """All that is not the test part: what a cross-validation divides."""
        return Joined([self.train, self.validation]) if self.is_tested_apart else self.train


@dataclasses.dataclass(frozen=True)
class Shares:
    """How parts that are missing are taken from the training part.

    Attributes:
      val: share of each class to validate on.
      test: share of each class to test on.
      seed: of what goes where.
    """

    val: float
    test: float
    seed: int

    def divide(
        self, train: LabelledSource, validation: LabelledSource | None, test: LabelledSource | None
    ) -> Parts:
        """The parts, those that are None taken from the first.

        Raises:
          ValueError: if a share is not between 0 and 1, or a class has too few members.
        """
        if test is None:
            train, test = self.split(train, self.test)
        if validation is None:
            train, validation = self.split(train, self.val)
        return Parts(train, validation, test)

    def split(self, source: LabelledSource, share: float) -> tuple[LabelledSource, LabelledSource]:
        """All but a share of each class, and that share.

        Raises:
          ValueError: as :func:`jaxvision.data.stratified_split`.
        """
        rng = np.random.default_rng(self.seed)
        first, second = stratified_split(source.labels, share, rng=rng, class_names=source.class_names)
        return Subset(source, first), Subset(source, second)


@dataclasses.dataclass(frozen=True)
class ClassificationData:
    """The images, and how they are varied."""

    source: Literal["digits", "folder", "csv", "arrays"] = "digits"
    """digits needs no files. folder: one folder a class, or train/, val/ and test/ with one a class each.
    csv: a table of images and classes. arrays: an .npz of x_train, y_train, x_test, y_test."""
    root: Path | None = None
    """The folder, the CSV file of the training images, or the .npz file."""
    val_csv: Path | None = None
    """CSV file of the validation images; by default a share of the training images."""
    test_csv: Path | None = None
    """CSV file of the test images; by default a share of the training images."""
    image_root: Path | None = None
    """Folder that the paths in CSV files are relative to; by default the file's own."""
    columns: tuple[str, str] = ("image", "label")
    """Headers of the paths and of the classes in CSV files."""
    val_share: float = 0.15
    """Share of each class to validate on, where there is no validation part."""
    test_share: float = 0.15
    """Share of each class to test on, where one folder or one CSV file holds all images."""
    split_seed: int = 0
    """Of what goes into which part, and into which fold."""
    size: tuple[int, int] | None = None
    """Height and width that the network sees; by default what its weights expect, for digits 16 16."""
    resize: int | tuple[int, int] | None = None
    """Pixels of the shorter side in evaluation, or height and width; the size is cut from the middle. By
    default in the proportion that the network's weights expect."""
    interpolation: str | None = None
    """How images are resized: bilinear, bicubic or nearest; by default as the network's weights expect."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel, on a scale of 0 to 1; by default what the network's weights expect."""
    std: tuple[float, float, float] | None = None
    """Each channel is then divided by this; by default what the network's weights expect."""
    batch_size: int = 32
    """Images a step, over all devices."""
    crop: Literal["auto", "none", "pad", "random_resized"] = "auto"
    """none: resized and cut as in evaluation. pad: then pixels are added at each side and the size cut out at
    a random place. random_resized: a random part is resized to the size. By default pad for digits and
    arrays, else random_resized."""
    padding: int | None = None
    """Pixels added at each side by crop pad; by default an eighth of the size: 4 for CIFAR."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Least and greatest share of the image in a random_resized crop; raise the first for few images."""
    flip: float | None = None
    """Probability of a horizontal flip; by default 0.5, and 0 for digits and arrays, where a mirrored sign
    may be another one."""
    jitter: float = 0.0
    """Greatest change of brightness, contrast and saturation."""
    rand_augment: tuple[int, int] | None = None
    """RandAugment: how many operations, and their magnitude of 0 to 30, such as 2 9."""
    erasing: float = 0.0
    """Probability that a random rectangle is erased."""
    workers: int = 0
    """Processes that read and vary images; 0 does it in a thread."""
    on_device: bool = False
    """Send training images to the device as bytes, a quarter of the traffic, and normalise them there;
    flips and changes of colour that come last are done there too, with other draws than on the host."""

    def open_parts(self) -> Parts:
        """The parts to train, validate and test on.

        Raises:
          FileNotFoundError: if a file or folder is missing.
          ValueError: if no root is given where one is needed, an option is given that the source does not
            read, there are fewer than 2 classes, a class has too few images to be divided, or files or
            folders do not fit together.
        """
        _check_read(self, "source", self.source)
        if self.source == "digits":
            return Parts(*(digit_images(split) for split in ("train", "val", "test")))
        if self.root is None:
            kind = {"folder": "FOLDER", "csv": "FILE.csv", "arrays": "FILE.npz"}[self.source]
            raise ValueError(f"--data.source {self.source} needs --data.root {kind}")
        if not self.root.exists():
            raise FileNotFoundError(f"--data.root {self.root}: no such file or folder")
        if self.source == "arrays":
            whole = read_image_arrays(self.root, "train")
            train, validation = self._shares.split(whole, self.val_share)
            test = read_image_arrays(self.root, "test", class_names=train.class_names)
            return Parts(train, validation, test)
        return self._open_csv() if self.source == "csv" else self._open_folder(self.root)

    def _open_folder(self, root: Path) -> Parts:
        # A part holds folders; one of images alone is a class, which may be called train.
        deep = {path.parent.name for path in root.glob("[!.]*/[!.]*/")}
        parts = deep & {"train", "val", "test"}
        if not parts:
            return self._shares.divide(ImageFolder(root), None, None)
        folders = {path.name for path in root.glob("[!.]*/")}
        if "train" not in parts or folders > parts:
            raise ValueError(
                f"{root}: got {name_some(sorted(folders))}; expected train/, and val/ and test/ if there are "
                "such parts, each with a folder of images for each class, and no other folder beside them; "
                "or one folder of images for each class"
            )
        train = ImageFolder(root / "train")
        names = train.class_names
        held = {
            name: ImageFolder(root / name, class_names=names) if name in parts else None
            for name in ("val", "test")
        }
        if held["val"] is not None and held["test"] is None:
            return Parts(train, held["val"], held["val"])
        return self._shares.divide(train, held["val"], held["test"])

    def _open_csv(self) -> Parts:
        assert self.root is not None

        def read(path: Path, class_names: tuple[str, ...] | None) -> CsvImages:
            folder = path.parent if self.image_root is None else self.image_root
            image, label = self.columns
            return CsvImages(
                path, root=folder, image_column=image, label_column=label, class_names=class_names
            )

        train = read(self.root, None)
        validation, test = (
            None if path is None else read(path, train.class_names) for path in (self.val_csv, self.test_csv)
        )
        return self._shares.divide(train, validation, test)

    @property
    def _shares(self) -> Shares:
        return Shares(self.val_share, self.test_share, self.split_seed)

    def resolved(self, expected: Preprocessing) -> "ClassificationData":
        """The options with nothing left to the network.

        Args:
          expected: by the network's weights.

        Raises:
          ValueError: if that is not what :func:`jaxvision.data.eval_transform` does, such as of clips.
        """
        eval_transform(expected)
        size = self.size or (_DIGITS_SIZE if self.source == "digits" else expected.size)
        red, green, blue = self.mean or expected.mean
        red_std, green_std, blue_std = self.std or expected.std
        return dataclasses.replace(
            self,
            size=size,
            resize=self.resize or expected.at_size(size).resize or min(size),
            interpolation=self.interpolation or expected.interpolation,
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
        )


def _check_read(options: ClassificationData, choice: str, value: str) -> None:
    """Raises a ValueError if an option is given that only other values of the choice read."""
    for name, readers in _READ_BY[choice].items():
        if value not in readers:
            why = f"--data.{choice} {value} does not read"
            remedy = f"give --data.{choice} {' or '.join(readers)}"
            refuse_unread(options, (name,), prefix="data.", why=why, remedy=remedy)


class PreparedImages:
    """Images as one network sees them.

    Args:
      options: of the data.
      expected: by the network's weights, where the options leave it open.
    """

    def __init__(self, options: ClassificationData, expected: Preprocessing) -> None:
        self.options = options.resolved(expected)
        fields = {name: getattr(self.options, name) for name in ("size", "resize", "mean", "std")}
        self.preprocessing = Preprocessing(**fields, interpolation=self.options.interpolation or "bilinear")

    @property
    def batch_size(self) -> int:
        """Images a step, over all devices."""
        return self.options.batch_size

    def train_transform(self) -> Compose:
        """Crops, flips, changes colours, erases, normalises.

        Raises:
          ValueError: if an option is out of its range, or given where the crop does not read it.
        """
        options, size = self.options, self.preprocessing.size
        signs = options.source in ("digits", "arrays")
        crop = ("pad" if signs else "random_resized") if options.crop == "auto" else options.crop
        _check_read(options, "crop", crop)
        *steps, normalize = self.eval_transform().steps
        if crop == "random_resized":
            interpolation = self.preprocessing.interpolation
            steps = [RandomResizedCrop(size, scale=options.crop_scale, interpolation=interpolation)]
        elif crop == "pad":
            padding = round(min(size) * _PADDING) if options.padding is None else options.padding
            colour = {"fill": (0, 0, 0)} if signs else {}  # of the paper, else the mean colour
            steps.append(RandomCrop(size, padding=padding, **colour))
        flip = (0.0 if signs else 0.5) if options.flip is None else options.flip
        if flip:  # what is below 0 is refused there
            steps.append(RandomHorizontalFlip(probability=flip))
        if options.rand_augment is not None:
            operations, magnitude = options.rand_augment
            steps.append(RandAugment(num_ops=operations, magnitude=magnitude))
        if options.jitter:
            change = options.jitter
            steps.append(ColourJitter(brightness=change, contrast=change, saturation=change))
        if options.erasing:
            steps.append(RandomErasing(probability=options.erasing))
        return compose(*steps, normalize)

    def eval_transform(self) -> Compose:
        """Resizes, cuts out the middle, normalises."""
        return eval_transform(self.preprocessing)

    def batches(self, source: LabelledSource, *, seed: int) -> TrainBatches:
        """Shuffled, varied batches without end, whose position can be saved; of each, this process's part."""
        transform, on_device = self.train_transform(), self.options.on_device
        return train_batches(
            source,
            split_transform(transform)[0] if on_device else transform,
            as_bytes=on_device,
            seed=seed,
            num_workers=self.options.workers,
            **process_share(self.batch_size),
        )

    def prepare_task(self, task: Task) -> Task:
        """The task for what :meth:`batches` gives."""
        on_device = self.options.on_device
        return prepare_on_device(task, split_transform(self.train_transform())[1]) if on_device else task

    def ordered_batches(self, source: LabelledSource) -> EvalBatches:
        """Every image once, in order; this process's part of each batch."""
        share = process_share(self.batch_size)
        return eval_batches(source, self.eval_transform(), num_workers=self.options.workers, **share)


@dataclasses.dataclass(frozen=True)
class ClassificationLossOptions:
    """The loss: cross entropy, and what is done to the labels before it."""

    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes; 0.1 is usual for many classes."""
    mixup: float = 0.0
    """Blend pairs of images and of labels: alpha of mixup, 0.1 to 1."""
    cutmix: float = 0.0
    """Put a part of one image into another, and of its label: alpha of CutMix, 1 in the paper. With mixup,
    each batch gets one of both."""
    class_weights: tuple[float, ...] | None = None
    """A weight for each class."""
    auxiliary: float = 0.3
    """Factor of the auxiliary classifiers' losses, where the network is trained with them."""

    def build(self, num_classes: int) -> ClassificationLoss:
        """The loss.

        Raises:
          ValueError: if a number is out of its range, or there is not one weight a class.
        """
        weights = self.class_weights
        if weights is not None:
            check_class_weights(weights, num_classes)
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(
                f"--loss.label-smoothing: expected a number in [0, 1], got {self.label_smoothing}"
            )
        for name in ("mixup", "cutmix", "auxiliary"):
            if getattr(self, name) < 0:
                raise ValueError(f"--loss.{name}: expected 0 or more, got {getattr(self, name)}")
        return ClassificationLoss(**dataclasses.asdict(self))
