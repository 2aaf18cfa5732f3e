"""Lists and folders of files, and what is wrong with them: shared by the readers of segmentation data."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from jaxvision.core import name_some
from jaxvision.data.image_files import IMAGE_SUFFIXES

__all__ = [
    "Problems",
    "files_by_stem",
    "find_folder",
    "hash_split",
    "listed_names",
    "listed_pairs",
    "names_of_part",
    "paired",
    "read_lines",
    "require_partners",
    "require_unique",
    "stem_of",
]


class Problems:
    """Broken files that show when a source is opened: an error, or kept where broken files are skipped.

    Args:
      skip: whether to go on without them.
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.found: list[str] = []

    def add(self, message: str) -> None:
        """Notes a broken file."""
        self.found.append(message)

    def stop(self, total: int, *, what: str) -> None:
        """Raises all that were noted at once, unless they are skipped.

        Args:
          total: files looked at.
          what: they are, in the plural.

        Raises:
          ValueError: if there are any.
        """
        if self.found and not self.skip:
            listing = "\n".join(f"  {message}" for message in self.found)
            raise ValueError(f"{len(self.found)} of {total} {what} are broken:\n{listing}")


def find_folder(path: Path) -> Path:
    """The path, if it is a folder.

    Raises:
      FileNotFoundError: if it is not.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; check the root and the layout")
    return path


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank, without the space around them.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it holds no line, or is not UTF-8.
    """
    if not path.is_file():
        find_folder(path.parent)
        near = sorted(other.name for other in path.parent.glob("*.txt"))
        raise FileNotFoundError(f"{path}: no such list; the folder holds {', '.join(near) or 'none'}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 ({error}); save it as UTF-8") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: the list is empty, expected one entry a line")
    return lines


def stem_of(text: str) -> str:
    """File name without folders, and without the ending where it is a picture's: names may hold dots.

    >>> stem_of("SegNet\\\\train\\\\a.b.png"), stem_of("a.b")
    ('a.b', 'a.b')
    """
    name = text.replace("\\", "/").rsplit("/", 1)[-1]
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def listed_names(path: Path) -> list[str]:
    """The names in a list, one a line, without folders and endings.

    Raises:
      FileNotFoundError: if there is no such list.
      ValueError: if it is empty or names one twice.
    """
    names = [stem_of(line) for line in read_lines(path)]
    require_unique(names, path)
    return names


def require_unique(names: Iterable[str], path: Path) -> None:
    """Raises a ValueError that names what comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: listed more than once: {name_some(twice)}; keep one line each")


def files_by_stem(folder: Path, *, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Files of a folder by name without ending; hidden files and other kinds are passed over.

    Args:
      folder: is not searched below.
      suffixes: endings of the files, in any case.

    Raises:
      FileNotFoundError: if there is no such folder.
      ValueError: if it holds no such file, or two of one name.
    """
    files: dict[str, Path] = {}
    for path in sorted(find_folder(folder).iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(
                f"{folder}: {files[path.stem].name} and {path.name} share a name; remove one of them"
            )
        files[path.stem] = path
    if not files:
        what = "picture" if suffixes is IMAGE_SUFFIXES else "such file"
        raise ValueError(f"{folder}: no {what} in it, expected files ending in {', '.join(suffixes)}")
    return files


def listed_pairs(
    stems: Sequence[tuple[str, str]], image_folder: Path, mask_folder: Path, problems: Problems
) -> list[tuple[str, Path, Path]]:
    """(image stem, mask stem) of a list -> (name, image file, mask file).

    Raises:
      FileNotFoundError: if a folder is missing.
      ValueError: if an image is listed twice, or, unless broken files are skipped, a file is missing.
    """
    images, masks = files_by_stem(image_folder), files_by_stem(mask_folder)
    return paired(stems, images, masks, (image_folder, mask_folder), problems)


def paired(
    stems: Sequence[tuple[str, str]],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    folders: tuple[Path, Path],
    problems: Problems,
) -> list[tuple[str, Path, Path]]:
    """:func:`listed_pairs` of files that are known by stem already."""
    image_folder, mask_folder = folders
    require_unique([image for image, _ in stems], image_folder)
    require_partners(
        {image for image, mask in stems if image not in images and mask in masks},
        "mask without image",
        image_folder,
        problems,
    )
    require_partners(
        {image for image, mask in stems if image in images and mask not in masks},
        "image without mask",
        mask_folder,
        problems,
    )
    require_partners(
        {image for image, mask in stems if image not in images and mask not in masks},
        "listed without image and mask",
        image_folder,
        problems,
    )
    return [(image, images[image], masks[mask]) for image, mask in stems if image in images and mask in masks]


def require_partners(missing: Iterable[str], what: str, where: Path, problems: Problems) -> None:
    """Notes names without a partner.

    Raises:
      ValueError: if there are any, unless broken files are skipped.
    """
    names = sorted(missing)
    if names and not problems.skip:
        raise ValueError(
            f"{where}: {what}: {name_some(names)}; add the missing files or remove these "
            f"({len(names)} in all)"
        )
    for name in names:
        problems.add(f"{where}: {what}: {name}")


def names_of_part(
    root: Path, part: str, names: Sequence[str], *, val_fraction: float, seed: int
) -> list[str]:
    """The names of a part: those in its list ``<part>.txt``, or what is left to it.

    Without ``val.txt``, "train" and "val" divide what ``train.txt`` lists by a hash (:func:`hash_split`);
    without ``train.txt``, all names that no other list has are to train on, and to divide.

    Args:
      root: the folder of the lists.
      part: "train", "val", or another that has a list.
      names: of all records.
      val_fraction: share of "val" where it has no list.
      seed: of that split.

    Raises:
      ValueError: if a list is empty or names one twice, or a part without a list is not one of the two, or
        there is too little to divide.
    """
    parts = dict.fromkeys((part, "train", "val", "test"))
    lists = {
        other: listed_names(root / f"{other}.txt") for other in parts if (root / f"{other}.txt").is_file()
    }
    if part in lists and (part != "train" or "val" in lists):
        return lists[part]
    held_out = {*lists.get("val", ()), *lists.get("test", ())}
    pool = lists.get("train") or [name for name in names if name not in held_out]
    if part == "train" and "val" in lists:
        return pool
    return hash_split(pool, part, val_fraction=val_fraction, seed=seed)


def hash_split(names: Sequence[str], split: str, *, val_fraction: float, seed: int) -> list[str]:
    """The names that fall to a part, by a hash of name and seed: the same on every machine.

    Args:
      names: of all records.
      split: "train" or "val".
      val_fraction: share of "val", more than 0 and less than 1; either part gets at least one.
      seed: another seed gives another split.

    Raises:
      ValueError: for another split or fraction, or fewer than two names.
    """
    if split not in ("train", "val"):
        raise ValueError(
            f"split: got {split!r}, expected 'train' or 'val'; "
            f"another split needs a list {split}.txt in the root"
        )
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction: got {val_fraction}, expected more than 0 and less than 1")
    if len(names) < 2:
        raise ValueError(f"split: got {len(names)} image, expected at least 2 to split; take split=None")
    order = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest())
    held_out = set(order[: min(max(round(val_fraction * len(names)), 1), len(names) - 1)])
    return [name for name in names if (name in held_out) == (split == "val")]
