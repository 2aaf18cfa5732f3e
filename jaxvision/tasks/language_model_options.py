"""Options of language models: their texts, their epochs, and the settings of the paper."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from jaxvision import training
from jaxvision.core import name_some
from jaxvision.data import (
    END,
    UNKNOWN,
    Document,
    IndexedText,
    TextFiles,
    Vocabulary,
    create_tokenizer,
    index_text,
    penn_treebank,
    python_documentation,
)
from jaxvision.optimizers import OptimizerOptions

PARTS = ("train", "validation", "test")

# Modules of Python's library with much to say, of 100,000 words in all.
_MODULES = (
    *("argparse", "ast", "asyncio", "calendar", "collections", "concurrent", "configparser", "csv"),
    *("datetime", "decimal", "difflib", "doctest", "email", "fractions", "functools", "heapq", "html"),
    *("http", "importlib", "inspect", "json", "logging", "mailbox", "multiprocessing"),
    *("pathlib", "pickle", "random", "shutil", "statistics", "string", "subprocess", "tarfile", "textwrap"),
    *("threading", "typing", "unittest", "urllib", "uuid", "xml", "zipfile"),
)


class LanguageText(NamedTuple):
    """A text in the numbers of its vocabulary.

    Attributes:
      vocabulary: of the training part.
      parts: for each of :data:`PARTS` its tokens, int32 ``[L]``.
      characters: whether tokens are characters.
    """

    vocabulary: Vocabulary
    parts: Mapping[str, np.ndarray]
    characters: bool

    def unknown_shares(self) -> dict[str, float]:
        """For each part the share of its tokens that count as :data:`jaxvision.data.UNKNOWN`."""
        unknown = self.vocabulary.index(UNKNOWN)
        return {name: float(np.mean(tokens == unknown)) for name, tokens in self.parts.items()}


@dataclasses.dataclass(frozen=True)
class LanguageModelData:
    """The text, its tokens, and how it is cut into batches."""

    source: Literal["python", "ptb", "files"] = "python"
    """python: docstrings that come with Python, without a download. ptb: the Penn Treebank. files: your
    own."""
    paths: tuple[Path, ...] = ()
    """Text files, or folders of them; for ptb the folder or the zip file that holds ptb.train.txt,
    ptb.valid.txt and ptb.test.txt."""
    validation: tuple[Path, ...] = ()
    """Text files of the validation part; by default a share of --data.paths."""
    test: tuple[Path, ...] = ()
    """Text files of the test part; by default a share of --data.paths."""
    held_out: float = 0.1
    """Where one text is given: the share for validation, in front of an equal one for the test at the end."""
    encoding: str = "utf-8"
    """Of the files."""
    tokens: Literal["words", "whitespace", "characters"] | None = None
    """What is predicted: words in small letters without punctuation, what stands between blanks as it is, or
    characters. By default words; whitespace for ptb. Words have an end of line among them."""
    min_count: int | None = None
    """Tokens rarer in the training part count as unknown; by default 2 for words, else 1."""
    max_size: int | None = None
    """Greatest size of the vocabulary: rarer tokens count as unknown; by default no limit."""
    batch_size: int = 20
    """Rows that the text is cut into, read side by side, over all devices."""
    window: int = 20
    """Tokens of a row in a batch: how far back gradients go. The state goes on from batch to batch."""
    eval_batch_size: int | None = None
    """Rows in evaluation; by default as in training. With 1 the text is read from begin to end."""

    @property
    def kind(self) -> str:
        """A key of :data:`jaxvision.data.TOKENIZERS`."""
        return self.tokens or ("whitespace" if self.source == "ptb" else "words")

    def read(self) -> LanguageText:
        """Reads the text and numbers its tokens.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if files are missing or not of the encoding, a part has no token, or the training part
            has but one word.
        """
        characters = self.kind == "characters"
        parts = self._indexed()
        counts = parts["train"].counts()
        seen = [token for token, count in counts.items() if count]
        if len(seen) < 2:
            raise ValueError(
                f"text: its training part is {name_some(seen)!r} and nothing else, expected at least two "
                "different tokens: what follows is certain, there is nothing to learn; give another text"
            )
        usual = 2 if self.kind == "words" else 1
        min_count = usual if self.min_count is None else self.min_count
        specials = (UNKNOWN,) if characters else (UNKNOWN, END)
        vocabulary = Vocabulary.build(counts, min_count=min_count, max_size=self.max_size, specials=specials)
        end = None if characters else END
        packed = {name: part.pack(vocabulary, end=end).tokens for name, part in parts.items()}
        return LanguageText(vocabulary, packed, characters)

    def _indexed(self) -> dict[str, IndexedText]:
        kind = self.kind

        def index(documents: Iterable[Document]) -> IndexedText:
            if kind == "characters":  # a line end between documents, as between lines
                documents = (Document(d.name, d.text.rstrip("\n") + "\n" * bool(d.text)) for d in documents)
                return index_text(documents, create_tokenizer(kind))
            return index_text(documents, create_tokenizer(kind), sentences=str.splitlines)

        given = bool(self.validation) + bool(self.test)
        if given == 1 or (given and self.source != "files"):
            raise ValueError(
                "--data.validation, --data.test: expected both or none, with --data.source files"
            )
        if given:
            paths = zip(PARTS, (self.paths, self.validation, self.test), strict=True)
            return {name: index(TextFiles(part, encoding=self.encoding)) for name, part in paths}
        if self.source == "files":
            return self._divide(index(TextFiles(self._own_paths(), encoding=self.encoding)))
        return {name: index(documents) for name, documents in self._known_parts().items()}

    def _own_paths(self) -> tuple[Path, ...]:
        if not self.paths:
            raise ValueError("--data.source files needs --data.paths FILE_OR_FOLDER ...")
        return self.paths

    def _divide(self, text: IndexedText) -> dict[str, IndexedText]:
        """Held-out parts from the end of one text."""
        if not 0 < self.held_out < 0.5:
            raise ValueError(f"--data.held-out: got {self.held_out}, expected a share between 0 and 0.5")
        total = len(text.tokens)
        share = int(total * self.held_out)
        if share < 2:
            raise ValueError(
                f"text: {total} tokens, of which --data.held-out {self.held_out} is {share}, expected at "
                "least 2 tokens in each part; give more text"
            )
        cuts = (0, total - 2 * share, total - share, total)
        return {name: text.part(cuts[i], cuts[i + 1]) for i, name in enumerate(PARTS)}

    def _known_parts(self) -> dict[str, list[Document]]:
        if self.source == "ptb":
            if len(self.paths) != 1:
                raise ValueError("--data.source ptb needs --data.paths FOLDER_OR_ZIP")
            parts = {}
            for name, part in zip(PARTS, ("train", "valid", "test"), strict=True):
                lines = [" ".join(words) for words in penn_treebank(self.paths[0], part, end=None)]
                parts[name] = [Document(f"ptb.{part}.txt", "\n".join(lines))]
            return parts
        if self.paths:
            raise ValueError("--data.paths: text of your own needs --data.source files as well")
        documents = python_documentation(modules=_MODULES)
        # Each tenth docstring, so that every part is of all modules.
        held_out = {"validation": documents[8::10], "test": documents[9::10]}
        return {"train": [d for i, d in enumerate(documents) if i % 10 < 8], **held_out}


@dataclasses.dataclass(frozen=True)
class EpochOptions:
    """The length of a run in epochs, and a rate that falls from epoch to epoch, as in the paper."""

    total: int | None = None
    """Epochs to train, instead of --run.steps; scores and checkpoints then come once an epoch."""
    constant: int | None = None
    """Epochs of the full learning rate; each later one divides it once more, whatever --optimizer.schedule.
    By default --optimizer.schedule counts."""
    divisor: float = 2.0
    """What each epoch after these divides the rate by."""

    def apply(
        self, run: training.RunOptions, optimizer: OptimizerOptions, *, batches_per_epoch: int
    ) -> tuple[training.RunOptions, OptimizerOptions]:
        """The options of the run and of the optimizer, in batches.

        Raises:
          ValueError: if a number is out of its range.
        """
        numbers = {"total": self.total, "constant": self.constant, "divisor": self.divisor}
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise ValueError(f"--epochs.{name}: got {number}, expected 1 or more")
        if self.total is not None:
            run = dataclasses.replace(
                run,
                steps=self.total * batches_per_epoch,
                eval_every=batches_per_epoch,
                checkpoint_every=batches_per_epoch,
            )
        if self.constant is not None:
            if optimizer.accumulate > batches_per_epoch:
                raise ValueError(
                    f"--optimizer.accumulate {optimizer.accumulate}: an update takes more than the "
                    f"{batches_per_epoch} batch(es) of an epoch, and --epochs.constant lowers the rate each "
                    "epoch; accumulate fewer, take smaller batches, or leave out --epochs.constant"
                )
            last = -(-run.steps // batches_per_epoch)
            updates = (
                epoch * batches_per_epoch // optimizer.accumulate for epoch in range(self.constant, last)
            )
            optimizer = dataclasses.replace(
                optimizer, schedule="step", milestones=tuple(updates), gamma=1 / self.divisor
            )
        return run, optimizer


class Recipe(NamedTuple):
    """How Zaremba et al. trained one of their networks.

    Attributes:
      window: steps that the network is unrolled for.
      epochs: in all.
      constant: epochs of a learning rate of 1.
      divisor: what each later epoch divides the rate by.
      clip_norm: greatest norm of the gradient of the loss summed over the window.
    """

    window: int
    epochs: int
    constant: int
    divisor: float
    clip_norm: float


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "small": Recipe(window=20, epochs=13, constant=4, divisor=2.0, clip_norm=5.0),
        "medium": Recipe(window=35, epochs=39, constant=6, divisor=1.2, clip_norm=5.0),
        "large": Recipe(window=35, epochs=55, constant=14, divisor=1.15, clip_norm=10.0),
    }
)
"""Zaremba et al. 2014, *Recurrent Neural Network Regularization*, section 4.1; batches of 20."""


def recipe_options(
    name: str, *, window: int | None = None
) -> tuple[LanguageModelData, EpochOptions, OptimizerOptions]:
    """The options of a recipe of the paper.

    Args:
      name: a key of :data:`RECIPES`.
      window: steps that the network is unrolled for; by default as many as in the paper.

    The paper's loss is summed over the T steps of the window and averaged over the rows; ours is the mean of
    all tokens, T times smaller. So the rate is T times the paper's 1 and the clip the T-th part of theirs,
    which gives the same updates: ``1 * clip(T g, c) = T * clip(g, c / T)``.

    Raises:
      ValueError: for an unknown name, or a window below 1.

    >>> recipe_options("small")[2].learning_rate, recipe_options("small")[2].clip_norm
    (20.0, 0.25)
    """
    if name not in RECIPES:
        raise ValueError(f"--recipe: expected one of {', '.join(RECIPES)}, got {name!r}")
    recipe = RECIPES[name]
    window = recipe.window if window is None else window
    if window < 1:
        raise ValueError(f"--data.window: got {window}, expected 1 or more")
    return (
        LanguageModelData(batch_size=20, window=window),
        EpochOptions(total=recipe.epochs, constant=recipe.constant, divisor=recipe.divisor),
        OptimizerOptions(
            name="sgd",
            learning_rate=float(window),
            schedule="constant",
            clip_norm=recipe.clip_norm / window,
        ),
    )
