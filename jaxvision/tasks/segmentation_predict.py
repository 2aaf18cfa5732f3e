"""Segments images with a trained network, of any size, whole or in windows, from one view or several."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxvision.core import refuse_unread, write_atomically
from jaxvision.data import Normalize, Resize, ResizeShorterSide
from jaxvision.pictures import contact_sheet, overlay, write_palette_png, write_png
from jaxvision.segmentation import (
    average_views,
    guided_refinement,
    score_any_size,
    score_same_size,
    slide_windows,
)
from jaxvision.segmentation.any_size import SIDES
from jaxvision.segmentation.sliding_windows import Blend, Score
from jaxvision.segmentation.views import best_labels, label_pixels
from jaxvision.tasks.image_inputs import output_names, read_or_name
from jaxvision.tasks.segmentation_options import SegmentationData
from jaxvision.weights import Preprocessing

_READ_WITH: Mapping[str, tuple[str, ...]] = {
    "window": ("overlap", "margin", "blend"),
    "refine": ("refine_radius", "refine_epsilon"),
}
"""Fields of :class:`InferenceOptions` that are read only where another one is given."""


@dataclasses.dataclass(frozen=True)
class InferenceOptions:
    """How images are scored."""

    window: tuple[int, int] | None = None
    """Height and width of sliding windows; by default images are scored whole."""
    overlap: tuple[int, int] | None = None
    """Pixels that neighbouring windows share at least; by default half the window."""
    margin: int = 0
    """Pixels at the inner ends of a window that do not count."""
    blend: Blend = "gaussian"
    """Weights of the pixels of a window."""
    scales: tuple[float, ...] = (1.0,)
    """Probabilities are averaged over these scales: 0.5 0.75 1.0 1.25 1.5 1.75."""
    flip: bool = False
    """Average over each image and its mirror image."""
    refine: bool = False
    """Draw the probabilities to the edges of the image by a guided filter; needs the extra refine."""
    refine_radius: int = 8
    """Radius of the filter's windows."""
    refine_epsilon: float = 1e-3
    """Variance of a colour (0 to 1) below which an area counts as flat."""
    sides: tuple[int, ...] = SIDES
    """Heights and widths that images of many sizes are rounded up to, so that few sizes are compiled."""
    batch_size: int = 1
    """Images of one size, or windows, that are scored at once."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"--batch-size: got {self.batch_size}, expected 1 or more")
        for switch, names in _READ_WITH.items():
            if not getattr(self, switch):
                why, remedy = f"nothing reads without --{switch}", f"give --{switch}"
                refuse_unread(self, names, why=why, remedy=remedy)


class Segmenter:
    """A compiled network, and how images are prepared for it and scored.

    Args:
      score: compiled, float32 ``[N, H, W, 3]`` -> logits ``[N, H, W, K]``.
      prepare: of an image uint8 ``[H, W, 3]`` what the network sees, float32 ``[h, w, 3]``.
      options: how it is scored.
      one_size: whether ``prepare`` gives one size: then it is compiled as it is, for padding would change
        what the border sees from the training.
    """

    def __init__(
        self,
        score: Score,
        prepare: Callable[[np.ndarray], np.ndarray],
        options: InferenceOptions,
        *,
        one_size: bool = False,
    ) -> None:
        self._score, self._prepare, self._options, self._one_size = score, prepare, options, one_size

    def labels(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The most probable class of each pixel.

        The host holds the logits of the images at the network's size; of an image that is scored in windows
        at its own size only a band of them.

        Args:
          images: uint8 ``[H, W, 3]`` each.

        Returns:
          uint8 ``[H, W]`` each, of the images' own sizes.

        Raises:
          ModuleNotFoundError: for a refinement without its extra.
          ValueError: for options that do not fit each other or the images.
        """
        options = self._options
        if options.refine or options.flip or options.scales != (1.0,):
            return [label_pixels(array) for array in self.probabilities(images)]
        inputs = [self._prepare(image) for image in images]
        sizes = [image.shape[:2] for image in images]
        if options.window is not None and [x.shape[:2] for x in inputs] == sizes:
            bands = [[label_pixels(band) for band in self._slide(x)] for x in inputs]
            return [np.concatenate(rows) for rows in bands]
        return [best_labels(scores, size) for scores, size in zip(self._scores(inputs), sizes, strict=True)]

    def probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The probability of each class at each pixel, refined if the options say so.

        Args:
          images: uint8 ``[H, W, 3]`` each.

        Returns:
          float32 ``[H, W, K]`` each, of the images' own sizes.

        Raises:
          ModuleNotFoundError: for a refinement without its extra.
          ValueError: for options that do not fit each other or the images.
        """
        options = self._options
        found = average_views(
            self._scores,
            [self._prepare(image) for image in images],
            sizes=[image.shape[:2] for image in images],
            scales=options.scales,
            flip=options.flip,
        )
        if not options.refine:
            return found
        return [
            guided_refinement(array, image, radius=options.refine_radius, epsilon=options.refine_epsilon)
            for array, image in zip(found, images, strict=True)
        ]

    def _scores(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        options = self._options
        if options.window is not None:
            return [np.concatenate(list(self._slide(x))) for x in inputs]
        if self._one_size:
            return score_same_size(self._score, inputs, batch_size=options.batch_size)
        return score_any_size(self._score, inputs, sides=options.sides, batch_size=options.batch_size)

    def _slide(self, image: np.ndarray) -> Iterator[np.ndarray]:
        options = self._options
        assert options.window is not None
        return slide_windows(
            self._score,
            image,
            window=options.window,
            overlap=options.overlap,
            margin=options.margin,
            blend=options.blend,
            batch_size=options.batch_size,
        )


def run_preparation(normalize: Normalize, size: tuple[int, int] | None) -> Callable[[np.ndarray], np.ndarray]:
    """How a run's network expects images.

    Args:
      normalize: that of the training.
      size: (H, W) that images are resized to, normally that of the training; None for their own size.

    Returns:
      From uint8 ``[H, W, 3]`` to float32 ``[h, w, 3]``.
    """
    rng = np.random.default_rng(0)  # neither transform draws from it

    def prepare(image: np.ndarray) -> np.ndarray:
        record = {"image": image} if size is None else Resize(size)({"image": image}, rng)
        return normalize(record, rng)["image"]

    return prepare


def compiled_scores(model: nn.Module, variables: Any) -> Score:
    """A network under ``jit``: images ``[N, H, W, 3]`` -> logits ``[N, H, W, K]``."""
    return functools.partial(jax.jit(functools.partial(model.apply, train=False)), jax.device_put(variables))


def run_segmenter(
    model: nn.Module,
    variables: Any,
    data: SegmentationData,
    options: InferenceOptions,
    *,
    native_size: bool = False,
) -> Segmenter:
    """The network of a run, with images prepared as in its training.

    A network that was trained on crops of images at their own size sees windows of the size of a crop.

    Args:
      model: gives logits ``[N, H, W, K]``.
      variables: on the host.
      data: of the run.
      options: how images are scored.
      native_size: whether images are scored whole, at their own size; in windows they always have it.
    """
    if data.resize is None and options.window is None and not native_size:
        options = dataclasses.replace(options, window=data.crop)
    size = None if native_size or options.window is not None else data.resize
    prepare = run_preparation(data.normalize(), size)
    return Segmenter(compiled_scores(model, variables), prepare, options, one_size=size is not None)


def published_preparation(
    preprocessing: Preprocessing, *, native_size: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """How published weights expect images that are to be segmented whole.

    A shorter side is resized to where the preprocessing names one without a crop, as torchvision's
    segmentation networks do (520 pixels). With a crop it is that of a classifier, which says nothing of whole
    images: those keep their size.

    Args:
      preprocessing: of the weights.
      native_size: whether images keep their size in any case.

    Returns:
      From uint8 ``[H, W, 3]`` to float32 ``[h, w, 3]``.

    Raises:
      ValueError: if it is of clips, or not of three channels.
    """
    if preprocessing.frames is not None or len(preprocessing.mean) != 3:
        raise ValueError(f"got inputs of shape {list(preprocessing.input_shape)}, expected images [H, W, 3]")
    (red, green, blue), (red_std, green_std, blue_std) = preprocessing.mean, preprocessing.std
    normalize = Normalize(mean=(red, green, blue), std=(red_std, green_std, blue_std))
    rng = np.random.default_rng(0)  # neither transform draws from it
    side = preprocessing.resize if preprocessing.resize == min(preprocessing.size) else None

    def prepare(image: np.ndarray) -> np.ndarray:
        record: Mapping[str, Any] = {"image": image}
        if isinstance(side, int) and not native_size:
            record = ResizeShorterSide(side, interpolation=preprocessing.interpolation)(record, rng)
        if preprocessing.channel_order == "bgr":
            record = {"image": record["image"][..., ::-1]}
        return normalize(record, rng)["image"]

    return prepare


def write_segmentation(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    alpha: float,
) -> Path:
    """Writes ``NAME_mask.png`` (class indices), ``NAME_overlay.png`` and ``NAME_legend.png``.

    Args:
      folder: made if it is missing.
      name: first part of the files' names.
      image: uint8 ``[H, W, 3]``.
      labels: uint8 ``[H, W]``.
      class_names: by index.
      palette: uint8 ``[256, 3]``.
      alpha: opacity of the overlay, 0..1.

    Returns:
      The path of the mask.
    """
    shown = overlay(image, labels, palette=palette, alpha=alpha, ignore_index=None)
    sheet = contact_sheet(
        [(image, labels, shown)],
        class_names=class_names,
        palette=palette,
        titles=("image", "classes", "overlay"),
        cell=360,
    )
    write_png(folder / f"{name}_legend.png", sheet)
    write_png(folder / f"{name}_overlay.png", shown)
    return write_palette_png(folder / f"{name}_mask.png", labels, palette)


def write_probabilities(path: Path, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    """Writes an npz with ``probabilities``, float16 ``[H, W, K]``, and ``class_names``."""
    arrays = {"probabilities": probabilities.astype(np.float16), "class_names": np.array(class_names)}
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def segment_files(
    segmenter: Segmenter,
    images: Sequence[Path],
    folder: Path,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    alpha: float,
    batch_size: int,
    probabilities: bool,
) -> int:
    """Segments image files and writes what is found; one that cannot be read is named, and left out.

    Args:
      segmenter: the network.
      images: the files.
      folder: of the results, see :func:`write_segmentation`; made if it is missing.
      class_names: by index.
      palette: uint8 ``[256, 3]``.
      alpha: opacity of the overlay, 0..1.
      batch_size: files at once.
      probabilities: whether ``NAME_probabilities.npz`` is written too.

    Returns:
      How many files were segmented.
    """
    done, named = 0, list(output_names(images))
    for start in range(0, len(named), batch_size):
        read = [(path, name, read_or_name(path)) for path, name in named[start : start + batch_size]]
        good = [(path, name, image) for path, name, image in read if image is not None]
        pixels = [image for _, _, image in good]
        found = segmenter.probabilities(pixels) if probabilities else segmenter.labels(pixels)
        for (path, name, image), array in zip(good, found, strict=True):
            labels = array
            if probabilities:
                write_probabilities(folder / f"{name}_probabilities.npz", array, class_names)
                labels = label_pixels(array)
            written = write_segmentation(
                folder, name, image, labels, class_names=class_names, palette=palette, alpha=alpha
            )
            done += 1
            print(f"{done}/{len(images)} {path} -> {written}", flush=True)
    return done
