"""The data of a text classifier, as options of a script, and its texts as numbers."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxvision.data import (
    PADDING,
    UNKNOWN,
    ArrayBatches,
    CsvTexts,
    LabelledSource,
    TextFolder,
    Vocabulary,
    create_tokenizer,
    ordered_array_batches,
    pad_sequences,
    python_sentences,
)
from jaxvision.tasks.classification import ClassificationLoss
from jaxvision.tasks.classification_options import ClassificationLossOptions, Parts, Shares
from jaxvision.training import process_share


@dataclasses.dataclass(frozen=True)
class TextClassificationData:
    """The texts, and what of them is a token."""

    source: Literal["python", "csv", "folder"] = "python"
    """python needs no files: sentences of Python's own documentation, and which theme each belongs to. csv: a
    table of texts and classes, apart by commas or, if its name ends in .tsv, by tabs. folder: one folder of
    text files a class, or train/, val/ and test/ with one a class each."""
    root: Path | None = None
    """The folder, or the file of the training texts."""
    val_csv: Path | None = None
    """File of the validation texts; by default a share of the training texts."""
    test_csv: Path | None = None
    """File of the test texts; by default a share of the training texts."""
    columns: tuple[str, str] = ("text", "label")
    """Headers of the texts and of the classes in a table."""
    encoding: str = "utf-8"
    """Of the text files in folders; tables are UTF-8."""
    val_share: float = 0.15
    """Share of each class to validate on, where there is no validation part."""
    test_share: float = 0.15
    """Share of each class to test on, where one folder or one table holds all texts."""
    split_seed: int = 0
    """Of what goes into which part."""
    tokens: Literal["words", "whitespace", "characters"] = "words"
    """What of a text is a token: words in small letters without punctuation; what stands between blanks, as
    it is; or each character."""
    min_count: int = 2
    """Tokens that are rarer in the training texts count as unknown."""
    max_size: int | None = None
    """The most tokens that are kept, the most frequent ones; by default all."""
    max_length: int = 48
    """Tokens of a text that the network sees; what is longer loses its end, and is counted."""
    batch_size: int = 64
    """Texts a step, over all devices."""

    def open_parts(self) -> Parts:
        """The parts to train, validate and test on.

        Raises:
          FileNotFoundError: if a file or folder is missing.
          ValueError: if no root is given where one is needed, files do not fit, or a class has too few texts.
        """
        if self.source == "python":
            sentences = python_sentences()
            return Parts(sentences["train"], sentences["val"], sentences["test"])
        if self.root is None:
            kind = {"folder": "FOLDER", "csv": "FILE.csv"}[self.source]
            raise ValueError(f"--data.source {self.source} needs --data.root {kind}")
        if not self.root.exists():
            raise FileNotFoundError(f"--data.root {self.root}: no such file or folder")
        shares = Shares(self.val_share, self.test_share, self.split_seed)
        if self.source == "csv":
            train = self._read_csv(self.root, None)
            held = [
                None if path is None else self._read_csv(path, train.class_names)
                for path in (self.val_csv, self.test_csv)
            ]
            return shares.divide(train, *held)
        if not (self.root / "train").is_dir():
            return shares.divide(TextFolder(self.root, encoding=self.encoding), None, None)
        train = TextFolder(self.root / "train", encoding=self.encoding)
        val, test = (
            TextFolder(self.root / name, class_names=train.class_names, encoding=self.encoding)
            if (self.root / name).is_dir()
            else None
            for name in ("val", "test")
        )
        return Parts(train, val, val) if val is not None and test is None else shares.divide(train, val, test)

    def _read_csv(self, path: Path, class_names: Sequence[str] | None) -> LabelledSource:
        text, label = self.columns
        return CsvTexts(path, text_column=text, label_column=label, class_names=class_names)

    def build_vocabulary(self, source: LabelledSource) -> Vocabulary:
        """The tokens of the training texts, padding and the unknown one first.

        Raises:
          ValueError: if no token comes often enough.
        """
        tokenize = create_tokenizer(self.tokens)
        counts: dict[str, int] = {}
        for index in range(len(source)):
            for token in tokenize(source[index]["text"]):
                counts[token] = counts.get(token, 0) + 1
        return Vocabulary.build(
            counts, min_count=self.min_count, max_size=self.max_size, specials=(PADDING, UNKNOWN)
        )


class EncodedTexts(NamedTuple):
    """Texts as numbers.

    Attributes:
      tokens: int32 ``[N, T]``, 0 behind the end.
      cut: number of texts that were longer than ``T``.
      empty: number of texts without a token.
      unknown: share of the tokens that are not in the vocabulary.
    """

    tokens: np.ndarray
    cut: int
    empty: int
    unknown: float


def encode_texts(texts: Sequence[str], vocabulary: Vocabulary, *, tokens: str, length: int) -> EncodedTexts:
    """Texts as rows of tokens of one length.

    Args:
      texts: N of them; one without a token becomes a row of padding.
      vocabulary: with :data:`jaxvision.data.PADDING` at 0 and :data:`jaxvision.data.UNKNOWN`.
      tokens: name of a tokenizer.
      length: ``T``.

    Raises:
      ValueError: for an unknown tokenizer, or a length below 1.
    """
    tokenize: Callable[[str], list[str]] = create_tokenizer(tokens)
    encoded = [vocabulary.encode(tokenize(text)) for text in texts]
    padded = pad_sequences(encoded, length, value=vocabulary.index(PADDING))
    every = np.concatenate([np.zeros(0, np.int32), *encoded])
    unknown = float((every == vocabulary.index(UNKNOWN)).mean()) if len(every) else 0.0
    return EncodedTexts(padded.values, padded.cut, int((padded.lengths == 0).sum()), unknown)


class PreparedTexts:
    """Texts as one network sees them; those of a source are encoded once.

    Args:
      options: of the data.
      vocabulary: of the network.
    """

    def __init__(self, options: TextClassificationData, vocabulary: Vocabulary) -> None:
        self.options, self.vocabulary = options, vocabulary
        self._encoded: dict[int, tuple[LabelledSource, EncodedTexts]] = {}

    @property
    def batch_size(self) -> int:
        """Texts a step, over all devices."""
        return self.options.batch_size

    def encode(self, source: LabelledSource) -> EncodedTexts:
        """The texts of a source as numbers."""
        if id(source) not in self._encoded:
            texts = [source[index]["text"] for index in range(len(source))]
            options = self.options
            encoded = encode_texts(texts, self.vocabulary, tokens=options.tokens, length=options.max_length)
            self._encoded[id(source)] = (source, encoded)  # the source is kept, or its id could come again
        return self._encoded[id(source)][1]

    def batches(self, source: LabelledSource, *, seed: int) -> ArrayBatches:
        """Shuffled batches without end, whose position can be saved; of each, this process's part."""
        return ArrayBatches(self._arrays(source), seed=seed, **process_share(self.batch_size))

    def ordered_batches(self, source: LabelledSource) -> Iterator[dict[str, np.ndarray]]:
        """Every text once, in order; this process's part of each batch."""
        return ordered_array_batches(self._arrays(source), **process_share(self.batch_size))

    def _arrays(self, source: LabelledSource) -> dict[str, Any]:
        return {"tokens": self.encode(source).tokens, "labels": source.labels}


@dataclasses.dataclass(frozen=True)
class TextLossOptions:
    """The loss: cross entropy, and what is done to the labels before it."""

    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    class_weights: tuple[float, ...] | None = None
    """A weight for each class."""

    def build(self, num_classes: int) -> ClassificationLoss:
        """The loss.

        Raises:
          ValueError: if a number is out of its range, or there is not one weight a class.
        """
        options = ClassificationLossOptions(
            label_smoothing=self.label_smoothing, class_weights=self.class_weights
        )
        return options.build(num_classes)
