"""How the images and clips that published weights were trained on had been prepared."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxvision.weights.readers import read_metadata

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
CHANNEL_ORDERS = ("rgb", "bgr")


class Preprocessing(NamedTuple):
    """Resize, cut out the middle, scale to [0, 1], normalise; of a clip each frame alike.

    Attributes:
      size: ``(height, width)`` of the crop that the network sees.
      resize: pixels of the shorter side before the crop, the longer one in proportion; or ``(height,
        width)``, whatever the proportions, as for most clips; None for images that keep their size.
      mean: of each channel, of values in [0, 1].
      std: of each channel, of values in [0, 1].
      interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.
      frames: number of frames of a clip; None for networks of single images.
      antialias: whether a reduction averages over all pixels, as Pillow's, or interpolates between the
        nearest ones, as OpenCV's and that of torchvision's video networks.
      channel_order: ``"rgb"``, or ``"bgr"`` of weights that Caffe trained on images read by OpenCV; the order
        of the network's input, of ``mean`` and of ``std``.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | tuple[int, int] | None = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    frames: int | None = None
    antialias: bool = True
    channel_order: str = "rgb"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch: ``(H, W, C)``, or ``(T, H, W, C)`` of a clip.

        >>> Preprocessing().input_shape
        (224, 224, 3)
        >>> Preprocessing(size=(112, 112), frames=16).input_shape
        (16, 112, 112, 3)
        """
        clip = () if self.frames is None else (self.frames,)
        return (*clip, *self.size, len(self.mean))

    def at_size(self, size: tuple[int, int]) -> "Preprocessing":
        """For inputs of another size: the crop keeps its share of the resized image.

        Args:
          size: ``(height, width)`` of the crop.

        >>> Preprocessing().at_size((448, 448)).resize
        512
        """
        if self.resize is None:
            return self._replace(size=size)
        if isinstance(self.resize, tuple):
            shares = zip(self.resize, size, self.size, strict=True)
            height, width = (max(round(side * want / have), want) for side, want, have in shares)
            return self._replace(size=size, resize=(height, width))
        resize = max(round(self.resize * min(size) / min(self.size)), *size)
        return self._replace(size=size, resize=resize)


def preprocessing_to_dict(preprocessing: Preprocessing) -> dict[str, Any]:
    """The fields as JSON holds them, for the metadata of a file of weights.

    >>> preprocessing_to_dict(Preprocessing())["size"]
    [224, 224]
    """
    fields = preprocessing._asdict()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def preprocessing_from_dict(fields: Mapping[str, Any]) -> Preprocessing:
    """The inverse of :func:`preprocessing_to_dict`, which checks what it is given.

    Args:
      fields: fields of :class:`Preprocessing` by name, as JSON gives them; those left out keep their default.

    Returns:
      The preprocessing.

    Raises:
      ValueError: for an unknown field, or a value that no preprocessing can have.

    >>> preprocessing_from_dict({"size": [160, 160], "resize": 176}).size
    (160, 160)
    """
    if not isinstance(fields, Mapping) or not set(fields) <= set(Preprocessing._fields):
        raise ValueError(
            f"preprocessing: expected the fields {list(Preprocessing._fields)}, got {fields!r}; write it "
            "with preprocessing_to_dict"
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    result = Preprocessing(**values)
    checks = {
        "size": _are_sizes(result.size) and len(result.size) == 2,
        "resize": result.resize is None
        or _are_sizes((result.resize,))
        or (isinstance(result.resize, tuple) and _are_sizes(result.resize) and len(result.resize) == 2),
        "mean": _are_numbers(result.mean),
        "std": _are_numbers(result.std) and len(result.std) == len(result.mean) and min(result.std) > 0,
        "interpolation": result.interpolation in INTERPOLATIONS,
        "frames": result.frames is None or _are_sizes((result.frames,)),
        "antialias": isinstance(result.antialias, bool),
        "channel_order": result.channel_order in CHANNEL_ORDERS,
    }
    for name, is_right in checks.items():
        if not is_right:
            raise ValueError(
                f"preprocessing: got {name} {getattr(result, name)!r}; expected positive whole numbers, two "
                "of a size, one or two of a resize, one of frames; as many finite means as deviations, which "
                f"are positive; an interpolation of {INTERPOLATIONS}, a channel_order of {CHANNEL_ORDERS}, "
                "and true or false for antialias"
            )
    return result


def read_preprocessing(path: str | os.PathLike[str]) -> Preprocessing | None:
    """What a ``.safetensors`` file says of itself, in its metadata ``"preprocessing"``.

    Written by ``write_safetensors(path, variables, metadata={"preprocessing":
    json.dumps(preprocessing_to_dict(preprocessing))})``.

    Returns:
      The preprocessing; None if the file says nothing.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a truncated file, or text that is no preprocessing.
    """
    text = read_metadata(path).get("preprocessing")
    if text is None:
        return None
    try:
        return preprocessing_from_dict(json.loads(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def preprocessing_from_timm(config: Mapping[str, Any]) -> Preprocessing:
    """What the ``pretrained_cfg`` in the ``config.json`` of timm's repositories says.

    Evaluation there resizes the shorter side to ``floor(size / crop_pct)``, or with the ``crop_mode`` squash
    each side, whatever the proportions, and crops the middle. The size is that of training, ``input_size``
    (``test_input_size``, which some weights score better at, is not read).

    Args:
      config: the mapping under ``"pretrained_cfg"``.

    Returns:
      The preprocessing; timm's default stands for a field that is left out.

    Raises:
      ValueError: for another ``crop_mode``, or a value that no preprocessing can have.

    >>> preprocessing_from_timm({"input_size": [3, 224, 224], "crop_pct": 0.95}).resize
    235
    """
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ValueError(
            f"pretrained_cfg: crop_mode {mode!r} is not supported, only 'center' and 'squash'; give the file "
            "as a local path, and prepare the images as its authors say"
        )
    defaults = Preprocessing()
    size = config.get("input_size") or (3, *defaults.size)
    crop = config.get("crop_pct") or 0.875
    if not _are_sizes(size) or len(size) != 3 or not _are_numbers((crop,)) or crop <= 0:
        raise ValueError(
            f"pretrained_cfg: got input_size {size!r} and crop_pct {crop!r}, expected channels, height and "
            "width, and a positive share"
        )
    sides = [math.floor(side / crop) for side in size[1:]]
    return preprocessing_from_dict(
        {
            "size": list(size[1:]),
            "resize": sides if mode == "squash" else min(sides),
            "mean": list(config.get("mean") or defaults.mean),
            "std": list(config.get("std") or defaults.std),
            "interpolation": config.get("interpolation") or "bicubic",
        }
    )


def _are_sizes(values: Any) -> bool:
    return isinstance(values, (tuple, list)) and all(type(x) is int and x > 0 for x in values)


def _are_numbers(values: Any) -> bool:
    return (
        isinstance(values, (tuple, list))
        and len(values) > 0
        and all(type(x) in (int, float) and math.isfinite(x) for x in values)
    )
