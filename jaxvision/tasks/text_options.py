"""Text as a script's options."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from jaxvision.data import (
    Document,
    IndexedText,
    TextFiles,
    create_tokenizer,
    index_text,
    penn_treebank,
    python_call_baskets,
    python_documentation,
    split_sentences,
)

__all__ = ["TextData"]

Tokens = Literal["words", "whitespace", "characters"]
Sentences = Literal["sentences", "lines", "whole"]


@dataclasses.dataclass(frozen=True)
class TextData:
    """The text, and what of it is a word."""

    source: Literal["python", "files", "ptb"] = "python"
    """python: the documentation that comes with Python (about 310,000 words, no download), or for item2vec
    the functions that each function of its library calls. files: your own. ptb: the training part of the Penn
    Treebank."""
    paths: tuple[Path, ...] = ()
    """Text files or folders of them; for ptb the folder or zip file with ptb.train.txt."""
    encoding: str = "utf-8"
    """Of the files."""
    documents: Literal["file", "line"] | None = None
    """What of the files is a document, or for item2vec a basket: each file, or each line, as is the default
    for baskets."""
    sentences: Sentences | None = None
    """What of a document is a sentence, over whose end no window reaches: what ends in a full stop, each
    line, or the whole document. By default sentences; lines where tokens are whitespace; the whole of a
    basket."""
    tokens: Tokens | None = None
    """What of a sentence is a token: words in small letters without punctuation; what stands between blanks,
    as it is; or each character. By default words; whitespace for ptb and baskets."""
    min_count: int = 5
    """Rarer tokens are left out."""
    max_size: int | None = None
    """The most tokens that are kept, the most frequent ones; by default all."""

    def read(self, *, baskets: bool) -> IndexedText:
        """Reads the text.

        Args:
          baskets: whether the documents are baskets, in which order means nothing.

        Raises:
          FileNotFoundError: if there is no such file or folder.
          ValueError: if paths are missing or too many, or the text cannot be read.
        """
        tokens, sentences = self._kinds(baskets)
        cut: dict[str, Callable[[str], list[str]] | None] = {
            "sentences": split_sentences,
            "lines": str.splitlines,
            "whole": None,
        }
        return index_text(self._documents(baskets), create_tokenizer(tokens), sentences=cut[sentences])

    def of_files(self, paths: tuple[Path, ...], *, baskets: bool) -> "TextData":
        """The options that read other files as this text is read, whatever its source.

        Args:
          paths: of the files.
          baskets: as :meth:`read`.
        """
        tokens, sentences = self._kinds(baskets)
        return dataclasses.replace(self, source="files", paths=paths, tokens=tokens, sentences=sentences)

    def _kinds(self, baskets: bool) -> tuple[Tokens, Sentences]:
        """What a token and a sentence are, by the options or else by the source."""
        plain = baskets or self.source == "ptb"
        tokens: Tokens = self.tokens or ("whitespace" if plain else "words")
        default: Sentences = "lines" if tokens == "whitespace" else "sentences"
        return tokens, self.sentences or ("whole" if baskets else default)

    def _documents(self, baskets: bool) -> Iterable[Document]:
        if self.source == "python":
            if self.paths:
                raise ValueError("--data.paths: text of your own needs --data.source files as well")
            return python_call_baskets() if baskets else python_documentation()
        if not self.paths or (self.source == "ptb" and len(self.paths) > 1):
            wanted = "FILE_OR_FOLDER ..." if self.source == "files" else "FOLDER_OR_ZIP"
            raise ValueError(f"--data.source {self.source} needs --data.paths {wanted}")
        if self.source == "ptb":
            lines = [" ".join(words) for words in penn_treebank(self.paths[0], "train", end=None)]
            return [Document("ptb.train.txt", "\n".join(lines))]
        by = self.documents or ("line" if baskets else "file")
        return TextFiles(self.paths, by=by, encoding=self.encoding)
