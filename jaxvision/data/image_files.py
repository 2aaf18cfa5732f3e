"""Picture and mask files -> arrays, with errors that name the file and the remedy."""

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from jaxvision.core import VOID

__all__ = ["IMAGE_SUFFIXES", "decode_flags", "decode_image", "read_colours", "read_image", "read_mask"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of files that the folder readers take for pictures (in any case)."""

# What Pillow raises on damaged files: OSError is the rule, the others come from single formats.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, Image.DecompressionBombError)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ONE_CHANNEL = ("P", "L", "1", *_SIXTEEN_BIT)


def read_image(path: str | Path) -> np.ndarray:
    """Reads a picture of any common kind as RGB: uint8 [H, W, 3].

    Converted: grey becomes three equal channels; transparency (RGBA, LA, palette) is dropped and the colour
    under it kept; 16 bit is divided by 257 to 8 bit; CMYK, YCbCr, Lab and palettes become RGB; a picture with
    an EXIF orientation is turned upright. Of an animation the first frame is taken.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no picture, is damaged or truncated, or holds floating point numbers.
    """
    return _as_rgb(_open(Path(path)), str(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """The picture in the bytes of a file, as :func:`read_image` reads it: uint8 [H, W, 3].

    Args:
      data: the file's content.
      where: names its place in messages.

    Raises:
      ValueError: if it is no picture, is damaged or truncated, or holds floating point numbers.
    """
    return _as_rgb(_load(io.BytesIO(data), where), where)


def decode_flags(data: bytes, where: str) -> np.ndarray:
    """The picture of one channel in the bytes of a file, as bool [H, W]: what is not 0.

    Args:
      data: the file's content.
      where: names its place in messages.

    Raises:
      ValueError: if it is no picture, is damaged or truncated, or has several channels.
    """
    picture = _load(io.BytesIO(data), where)
    if picture.mode not in _ONE_CHANNEL:
        raise ValueError(f"{where}: a picture with mode {picture.mode}, expected one channel of 0 and 1")
    return np.array(picture) != 0


def read_colours(path: str | Path) -> np.ndarray:
    """Reads a mask whose meaning is in its colours: uint8 [H, W, 3].

    Takes RGB, palettes (their colours count) and 8-bit grey (three equal channels); transparency is dropped.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no picture, is damaged or truncated, is of another mode, or of a format with loss.
    """
    picture = _open(Path(path))
    if picture.mode not in ("RGB", "RGBA", "P", "PA", "L", "LA", "1"):
        raise ValueError(
            f"{path}: a mask with mode {picture.mode}, expected colours of 8 bit (RGB or a palette); "
            "export it as such"
        )
    _refuse_loss(picture, path)
    return _as_rgb(picture, str(path))


def _as_rgb(picture: Image.Image, path: str) -> np.ndarray:
    if picture.mode in _SIXTEEN_BIT:
        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(
                f"{path}: values {grey.min()} to {grey.max()}, expected 8 or 16 bit; "
                "convert it to an 8-bit PNG"
            )
        return np.repeat(np.rint(grey / 257).astype(np.uint8)[..., None], 3, -1)  # [H, W, 3]
    if picture.mode == "F":
        raise ValueError(
            f"{path}: a floating point picture, expected 8 or 16 bit; convert it to an 8-bit PNG"
        )
    if picture.mode in ("P", "PA"):  # Pillow warns of a palette with transparency unless it goes by RGBA
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def read_mask(path: str | Path, *, num_classes: int, void: int = VOID) -> np.ndarray:
    """Reads a mask of class indices: uint8 [H, W] with 0..num_classes-1 and 255 for void.

    Takes palette, 8-bit grey, 16-bit grey and 1-bit files; the palette's colours play no part.

    Args:
      path: the file, of a format without loss.
      num_classes: number of classes.
      void: the value in the file that stands for void; 255 always does as well.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no picture, is damaged or truncated, is a colour picture, or holds a value that is
        neither a class nor void (the value is named).
    """
    picture = _open(Path(path))
    if picture.mode not in _ONE_CHANNEL:
        raise ValueError(
            f"{path}: a mask with mode {picture.mode}, expected one channel of class indices "
            "(palette or grey); turn its colours into indices first"
        )
    _refuse_loss(picture, path)
    values = np.array(picture, np.uint8 if picture.mode == "1" else None)
    allowed = (values >= 0) & (values < num_classes) | (values == void) | (values == VOID)
    if not allowed.all():
        wrong, counts = np.unique(values[~allowed], return_counts=True)
        shown = ", ".join(f"{value} ({count} px)" for value, count in zip(wrong[:5], counts[:5], strict=True))
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"{path}: class index out of range: {shown}{more}, expected 0..{num_classes - 1} "
            f"or {void} for void; check class_names, or relabel the mask"
        )
    return np.where(values == void, VOID, values).astype(np.uint8)


def _refuse_loss(picture: Image.Image, path: str | Path) -> None:
    if picture.format in ("JPEG", "WEBP"):
        raise ValueError(
            f"{path}: a mask in {picture.format} format, whose compression changes values; save masks as PNG"
        )


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return _load(path, str(path))


def _load(file: Path | BinaryIO, where: str) -> Image.Image:
    """Reads all pixels of a file, so that damage shows here, and turns it upright."""
    try:
        with Image.open(file) as picture:
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"{where}: not a picture that Pillow can read; remove it or export it anew"
        ) from error
    except PermissionError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{where}: damaged or truncated ({error}); copy or export it anew") from error
