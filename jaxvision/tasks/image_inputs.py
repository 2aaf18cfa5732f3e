"""The images that a user gives to a script: found, read one by one, and named for their results."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxvision.data import IMAGE_SUFFIXES, read_image


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """The image files given, and those in the folders given, in order.

    Raises:
      FileNotFoundError: for a path that is not there.
      ValueError: for a folder without images, or if nothing is given.
    """
    if not inputs:
        raise ValueError("nothing to predict; give image files or folders")
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            )
            if not inside:
                raise ValueError(f"{path}: no images in this folder; expected {', '.join(IMAGE_SUFFIXES)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return found


def output_names(images: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each image with a name for its results: the stem, or the whole name where two share a stem."""
    stems = Counter(path.stem for path in images)
    names: Counter[str] = Counter()
    for path in images:
        name = path.stem if stems[path.stem] == 1 else path.name.replace(".", "_")
        names[name] += 1
        yield path, name if names[name] == 1 else f"{name}_{names[name]}"


def read_or_name(
    path: Path, *, prepare: Callable[[np.ndarray], np.ndarray] = lambda image: image
) -> np.ndarray | None:
    """Reads an image; of one that cannot be read, or prepared, a line on standard error says why.

    Args:
      path: of the image.
      prepare: what is done to it, uint8 [H, W, 3].

    Returns:
      What ``prepare`` returns, by default the image; or None.
    """
    try:
        image = read_image(path)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return None
    try:
        return prepare(image)
    except ValueError as error:
        print(f"error: {path}: {error}", file=sys.stderr)
        return None
