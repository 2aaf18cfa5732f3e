"""The data of a sequence tagger, as options of a script, and its sentences as numbers."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxvision.core import name_some
from jaxvision.data import (
    PADDING,
    UNKNOWN,
    ArrayBatches,
    TaggedSentence,
    Vocabulary,
    ordered_array_batches,
    pad_sequences,
    python_code_lines,
    read_conll,
    tags_of,
)
from jaxvision.training import process_share

_DIGITS = str.maketrans("123456789", "000000000")


class TaggedParts(NamedTuple):
    """The parts of a data set: to train on, to choose by, to report."""

    train: Sequence[TaggedSentence]
    validation: Sequence[TaggedSentence]
    test: Sequence[TaggedSentence]


@dataclasses.dataclass(frozen=True)
class TaggingData:
    """The sentences and their tags."""

    source: Literal["python", "conll"] = "python"
    """python needs no files: the characters of lines of Python's own source, and what each belongs to (a
    name, keyword, number, string, comment or operator). conll: files of columns, a token a line."""
    root: Path | None = None
    """The file of the training sentences."""
    val: Path | None = None
    """File of the validation sentences; by default a share of the training sentences."""
    test: Path | None = None
    """File of the test sentences; by default a share of the training sentences."""
    columns: tuple[int, int] = (0, -1)
    """Columns of the token and of the tag, from 0; -1 is the last."""
    encoding: str = "utf-8"
    """Of the files."""
    lines: int = 8000
    """Training lines of Python's source; an eighth of it to validate, and a fourth to test."""
    val_share: float = 0.1
    """Share to validate on, where there is no validation file."""
    test_share: float = 0.1
    """Share to test on, where there is no test file."""
    split_seed: int = 0
    """Of what goes into which part."""
    lower: bool = True
    """Look words up in small letters and with every digit as 0; their characters stay. Not for python."""
    min_count: int = 2
    """Tokens that are rarer in the training sentences count as unknown."""
    max_length: int = 100
    """Tokens of a sentence that the network sees; what is longer loses its end, and is counted. predict
    tags all of a sentence."""
    letters: int = 16
    """Characters of a word that the network sees."""
    batch_size: int = 32
    """Sentences a step, over all devices."""

    def open_parts(self) -> TaggedParts:
        """The parts to train, validate and test on.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if no root is given where one is needed, a file is damaged or a part is empty.
        """
        if self.source == "python":
            if self.lines < 8:
                raise ValueError(f"--data.lines: got {self.lines}, expected at least 8")
            counts = {"train": self.lines, "val": self.lines // 8, "test": self.lines // 4}
            return TaggedParts(*(python_code_lines(split, most=most) for split, most in counts.items()))
        if self.root is None:
            raise ValueError("--data.source conll needs --data.root FILE")
        train = self._read(self.root)
        order = np.random.default_rng(self.split_seed).permutation(len(train))
        held = []
        for name in ("test", "val"):
            path: Path | None = getattr(self, name)
            if path is not None:
                held.append(self._read(path))
                continue
            share: float = getattr(self, f"{name}_share")
            count = round(share * len(train))
            if not 0 < count < len(order):
                raise ValueError(
                    f"--data.{name}-share {share} of {len(train)} sentences leaves a part empty; give more "
                    f"sentences, another share, or --data.{name} FILE"
                )
            held.append([train[index] for index in sorted(order[:count])])
            order = order[count:]
        return TaggedParts([train[index] for index in sorted(order)], held[1], held[0])

    def _read(self, path: Path) -> list[TaggedSentence]:
        token, tag = self.columns
        return read_conll(path, token_column=token, tag_column=tag, encoding=self.encoding)

    def look_up(self, token: str) -> str:
        """A token as the vocabulary has it."""
        return token.lower().translate(_DIGITS) if self.lower and self.source != "python" else token


class TagVocabularies(NamedTuple):
    """The numbers of a tagger.

    Attributes:
      tokens: padding and the unknown token first.
      tags: by index.
      characters: padding and the unknown one first; None for no characters.
    """

    tokens: Vocabulary
    tags: Vocabulary
    characters: Vocabulary | None


def build_vocabularies(
    data: TaggingData, sentences: Sequence[TaggedSentence], *, characters: bool
) -> TagVocabularies:
    """Tokens, tags and characters of the training sentences.

    Raises:
      ValueError: if no token comes often enough, or there is one tag alone.
    """
    counts = collections.Counter(data.look_up(token) for s in sentences for token in s.tokens)
    letters = collections.Counter(letter for s in sentences for token in s.tokens for letter in token)
    tags = tags_of(sentences)
    if len(tags) < 2:
        raise ValueError(f"tags: got {name_some(tags)} alone, expected at least 2; look at --data.columns")
    specials = (PADDING, UNKNOWN)
    return TagVocabularies(
        Vocabulary.build(counts, min_count=data.min_count, specials=specials),
        Vocabulary(tags),
        Vocabulary.build(letters, specials=specials) if characters else None,
    )


class EncodedSentences(NamedTuple):
    """Sentences as numbers.

    Attributes:
      arrays: ``tokens`` int32 ``[N, T]``, with characters ``characters`` int32 ``[N, T, L]``, and ``labels``
        int32 ``[N, T]``.
      lengths: int32 ``[N]``, of what was kept.
      cut: number of sentences that were longer than ``T``.
    """

    arrays: dict[str, np.ndarray]
    lengths: np.ndarray
    cut: int


def encode_sentences(
    sentences: Sequence[TaggedSentence], vocabularies: TagVocabularies, data: TaggingData
) -> EncodedSentences:
    """Sentences as rows of one length.

    Args:
      sentences: N of them.
      vocabularies: of the network.
      data: how tokens are looked up, and the lengths.

    Raises:
      ValueError: for a tag that no training sentence has; its sentence is named.
    """
    tokens, labels = [], []
    for sentence in sentences:
        strange = [tag for tag in sentence.tags if tag not in vocabularies.tags]
        if strange:
            raise ValueError(
                f"{sentence.name}: tag {strange[0]!r} is not among those of the training sentences "
                f"({name_some(vocabularies.tags.tokens)})"
            )
        tokens.append(vocabularies.tokens.encode(map(data.look_up, sentence.tokens)))
        labels.append(vocabularies.tags.encode(sentence.tags))
    padded = pad_sequences(tokens, data.max_length)
    arrays = {"tokens": padded.values, "labels": pad_sequences(labels, data.max_length).values}
    if vocabularies.characters is not None:
        spelled = np.zeros((len(sentences), data.max_length, data.letters), np.int32)
        for row, sentence in zip(spelled, sentences, strict=True):
            kept = [vocabularies.characters.encode(token) for token in sentence.tokens[: data.max_length]]
            row[: len(kept)] = pad_sequences(kept, data.letters).values
        arrays["characters"] = spelled
    return EncodedSentences(arrays, padded.lengths, padded.cut)


class PreparedSentences:
    """The parts of a data set as numbers, encoded once.

    Args:
      options: of the data.
      vocabularies: of the network.
      parts: of the data.

    Raises:
      ValueError: as :func:`encode_sentences`.
    """

    def __init__(self, options: TaggingData, vocabularies: TagVocabularies, parts: TaggedParts) -> None:
        self.options, self.vocabularies, self.parts = options, vocabularies, parts
        self.encoded = [encode_sentences(part, vocabularies, options) for part in parts]

    @property
    def batch_size(self) -> int:
        """Sentences a step, over all devices."""
        return self.options.batch_size

    def encode(self, source: Sequence[TaggedSentence]) -> EncodedSentences:
        """The sentences of a part as numbers."""
        pairs = zip(self.parts, self.encoded, strict=True)
        return next(encoded for part, encoded in pairs if part is source)

    def batches(self, source: Sequence[TaggedSentence], *, seed: int) -> ArrayBatches:
        """Shuffled batches without end, whose position can be saved; of each, this process's part."""
        return ArrayBatches(self.encode(source).arrays, seed=seed, **process_share(self.batch_size))

    def ordered_batches(self, source: Sequence[TaggedSentence]) -> Iterator[dict[str, np.ndarray]]:
        """Every sentence once, in order; this process's part of each batch."""
        return ordered_array_batches(self.encode(source).arrays, **process_share(self.batch_size))
