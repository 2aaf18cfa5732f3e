"""The data of a text recogniser, as options of a script, and its pictures as a network sees them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxvision.data import (
    CsvWords,
    DigitStrings,
    EvalBatches,
    TrainBatches,
    Vocabulary,
    WordSource,
    eval_batches,
    fit_word,
    train_batches,
)
from jaxvision.tasks.text_recognition import NO_CHARACTER, needed_steps
from jaxvision.training import process_share

BLANK_TOKEN = "<blank>"


class WordSubset:
    """The records of a source of words at some positions.

    Args:
      source: is not copied.
      indices: positions in the source.
    """

    def __init__(self, source: WordSource, indices: Sequence[int]) -> None:
        self._source, self._indices = source, tuple(map(int, indices))

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each record."""
        texts = self._source.texts
        return tuple(texts[index] for index in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._source[self._indices[index]]


class WordParts(NamedTuple):
    """The parts of a data set: to train on, to choose by, to report."""

    train: WordSource
    validation: WordSource
    test: WordSource


@dataclasses.dataclass(frozen=True)
class RecognitionData:
    """The pictures and what is written on them."""

    source: Literal["digits", "csv"] = "digits"
    """digits needs no files: strings of handwritten digits. csv: a table of pictures and texts."""
    root: Path | None = None
    """The CSV file of the training pictures."""
    val_csv: Path | None = None
    """CSV file of the validation pictures; by default a share of the training pictures."""
    test_csv: Path | None = None
    """CSV file of the test pictures; by default a share of the training pictures."""
    image_root: Path | None = None
    """Folder that the paths in CSV files are relative to; by default the file's own."""
    columns: tuple[str, str] = ("image", "text")
    """Headers of the paths and of the texts in CSV files."""
    val_share: float = 0.1
    """Share to validate on, where there is no validation part."""
    test_share: float = 0.1
    """Share to test on, where one CSV file holds all pictures."""
    split_seed: int = 0
    """Of what goes into which part."""
    alphabet: str | None = None
    """The characters that can be read; by default those of the training texts, for digits 0123456789."""
    width: int = 112
    """Pixels that pictures are filled up to, or squeezed into, at a height of 32. A quarter of it, less one,
    must be as much as the longest text needs: one a character, and one between equal neighbours."""
    digits: tuple[int, int] = (1, 5)
    """Least and greatest length of the strings of digits."""
    batch_size: int = 32
    """Pictures a step, over all devices."""
    workers: int = 0
    """Processes that read pictures; 0 does it in a thread."""

    def open_parts(self) -> WordParts:
        """The parts to train, validate and test on.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if no root is given where one is needed, or files do not fit.
        """
        if self.source == "digits":
            low, high = self.digits
            size = (32, self.width)
            strings = [
                DigitStrings(split, size=size, min_digits=low, max_digits=high)
                for split in ("train", "val", "test")
            ]
            return WordParts(*strings)
        if self.root is None:
            raise ValueError("--data.source csv needs --data.root FILE.csv")
        train: WordSource = self._read(self.root)
        held: list[WordSource | None] = [
            None if path is None else self._read(path) for path in (self.val_csv, self.test_csv)
        ]
        rng = np.random.default_rng(self.split_seed)
        shares = (self.val_share, self.test_share)
        order = rng.permutation(len(train))
        for place in (1, 0):
            if held[place] is None:
                share = shares[place]
                count = round(share * len(train))
                if not 0 < share < 1 or not 0 < count < len(order):
                    raise ValueError(
                        f"--data.{('val', 'test')[place]}-share {share} of {len(train)} pictures leaves a "
                        "part empty; give more pictures, another share or a file of its own"
                    )
                held[place] = WordSubset(train, sorted(order[:count]))
                order = order[count:]
        val, test = held
        assert val is not None and test is not None
        return WordParts(WordSubset(train, sorted(order)), val, test)

    def _read(self, path: Path) -> CsvWords:
        image, text = self.columns
        root = path.parent if self.image_root is None else self.image_root
        return CsvWords(path, root=root, image_column=image, text_column=text)

    def build_alphabet(self, source: WordSource) -> Vocabulary:
        """The blank, and the characters that can be read.

        Raises:
          ValueError: if a character is given twice.
        """
        characters = self.alphabet
        if characters is None:
            digits = "0123456789" if self.source == "digits" else ""
            characters = digits or "".join(sorted({letter for text in source.texts for letter in text}))
        return Vocabulary((BLANK_TOKEN, *characters))


def encode_words(source: WordSource, alphabet: Vocabulary, *, steps: int, part: str) -> np.ndarray:
    """The texts of a source as rows of labels.

    Args:
      source: of words.
      alphabet: the blank first.
      steps: columns that the network has.
      part: name of the source, for messages.

    Returns:
      int32 ``[N, L]`` of the longest text, :data:`jaxvision.tasks.text_recognition.NO_CHARACTER` behind ends.

    Raises:
      ValueError: for a character that is not in the alphabet, or a text that needs more columns.
    """
    encoded = []
    for number, text in enumerate(source.texts):
        strange = [letter for letter in text if letter not in alphabet]
        if strange:
            raise ValueError(
                f"{part} picture {number} says {text!r}: {strange[0]!r} is not in the alphabet "
                f"{''.join(alphabet.tokens[1:])!r}; add it by --data.alphabet, or leave the picture out"
            )
        labels = alphabet.encode(text)
        if needed_steps(labels) > steps:
            raise ValueError(
                f"{part} picture {number} says {text!r}: its {len(text)} characters need "
                f"{needed_steps(labels)} columns (one each, and one between equal neighbours), and the "
                f"network has {steps}; raise --data.width to {4 * (needed_steps(labels) + 1)}"
            )
        encoded.append(labels)
    longest = max(map(len, encoded), default=0)
    rows = np.full((len(encoded), longest), NO_CHARACTER, np.int32)
    for row, labels in zip(rows, encoded, strict=True):
        row[: len(labels)] = labels
    return rows


def prepare_word(image: np.ndarray, *, width: int) -> np.ndarray:
    """A picture as the network sees it.

    Args:
      image: uint8 ``[h, w, 3]``.
      width: of the result.

    Returns:
      float32 ``[32, width, 1]`` from -1 to 1.

    Raises:
      ValueError: as :func:`jaxvision.data.fit_word`.
    """
    return fit_word(image, (32, width)).astype(np.float32)[..., None] / np.float32(127.5) - np.float32(1)


class _Labelled:
    """A source whose records have ``label`` int32 [L] for their text."""

    def __init__(self, source: WordSource, labels: np.ndarray) -> None:
        self._source, self._labels = source, labels

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._source[index]["image"], "label": self._labels[index]}


class PreparedWords:
    """Pictures and texts as one network sees them.

    Args:
      options: of the data.
      alphabet: the blank first.
      parts: of the data; all texts are checked here.
      steps: columns that the network has.

    Raises:
      ValueError: as :func:`encode_words`.
    """

    def __init__(
        self, options: RecognitionData, alphabet: Vocabulary, parts: WordParts, *, steps: int
    ) -> None:
        self.options, self.alphabet, self.parts = options, alphabet, parts
        names = ("training", "validation", "test")
        rows = [
            encode_words(source, alphabet, steps=steps, part=name)
            for name, source in zip(names, parts, strict=True)
        ]
        longest = max(array.shape[1] for array in rows)
        self._labels = [
            np.pad(array, ((0, 0), (0, longest - array.shape[1])), constant_values=NO_CHARACTER)
            for array in rows
        ]

    @property
    def batch_size(self) -> int:
        """Pictures a step, over all devices."""
        return self.options.batch_size

    def labels(self, source: WordSource) -> np.ndarray:
        """The labels of a part, int32 ``[N, L]``."""
        return next(labels for part, labels in zip(self.parts, self._labels, strict=True) if part is source)

    def transform(self, record: Any, rng: np.random.Generator) -> dict[str, Any]:
        """A record as the network sees it."""
        return {**record, "image": prepare_word(record["image"], width=self.options.width)}

    def batches(self, source: WordSource, *, seed: int) -> TrainBatches:
        """Shuffled batches without end, whose position can be saved; of each, this process's part."""
        return train_batches(
            _Labelled(source, self.labels(source)),
            self.transform,
            as_bytes=False,
            seed=seed,
            num_workers=self.options.workers,
            **process_share(self.batch_size),
        )

    def ordered_batches(self, source: WordSource) -> EvalBatches:
        """Every picture once, in order; this process's part of each batch."""
        return eval_batches(
            _Labelled(source, self.labels(source)),
            self.transform,
            num_workers=self.options.workers,
            **process_share(self.batch_size),
        )
