"""Tokenizers, readers, packing, and the text that comes with Python."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxvision.data import (
    END,
    UNKNOWN,
    Document,
    TextFiles,
    Vocabulary,
    create_tokenizer,
    index_text,
    penn_treebank,
    python_call_baskets,
    python_documentation,
    read_text,
    split_sentences,
    tokenize_words,
)

PTB = Path("/work/shared/data/ptb/ptb.zip")


def test_tokenizers_by_name():
    text = "It's Über_fein,\n2.5 <unk>!"
    assert create_tokenizer("words")(text) == ["it's", "über", "fein", "2", "5", "unk"]
    assert create_tokenizer("whitespace")(text) == ["It's", "Über_fein,", "2.5", "<unk>!"]
    assert create_tokenizer("characters")("a\n b") == ["a", "\n", " ", "b"]
    assert tokenize_words("A b", lower=False) == ["A", "b"]
    assert tokenize_words("'tis 'quoted' rock 'n' roll") == ["tis", "quoted", "rock", "n", "roll"]
    with pytest.raises(ValueError, match="expected one of words, whitespace, characters, got 'bytes'"):
        create_tokenizer("bytes")


def test_sentences_end_at_marks_with_a_blank_behind_and_at_blank_lines():
    text = "Version 3.11 is new! Is it?\nYes.\n\n  Heading\n \n(So it ends.) Last"
    assert split_sentences(text) == [
        "Version 3.11 is new!",
        "Is it?",
        "Yes.",
        "Heading",
        "(So it ends.",
        "Last",
    ]
    assert split_sentences(" \n ") == []


def test_files_are_read_in_order_and_as_often_as_asked(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, text in (
        ("b.txt", "two\n\nlines\n"),
        ("sub/a.MD", "\ufeffdeep"),
        ("x.bin", "no"),
        (".hidden/c.txt", ""),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = TextFiles([tmp_path])
    assert (
        list(files)
        == list(files)
        == [
            Document(str(tmp_path / "b.txt"), "two\n\nlines\n"),
            Document(str(tmp_path / "sub/a.MD"), "deep"),
        ]
    )
    lines = list(TextFiles([tmp_path / "b.txt", tmp_path / "sub"], by="line"))
    assert [document.text for document in lines] == ["two", "lines", "deep"]
    assert lines[1].name == f"{tmp_path / 'b.txt'}:3"


def test_bytes_of_another_encoding_are_named(tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes("naïf\ncafé".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"old\.txt: byte 0xef at offset 2 \(line 1\) is not UTF-8; .*latin-1.*iconv"
    ):
        list(TextFiles([path]))
    assert read_text(path, encoding="latin-1") == "naïf\ncafé"
    path.write_bytes("wide".encode("utf-16"))
    with pytest.raises(ValueError, match=r"looks like UTF-16; give its encoding \(such as UTF-16\)"):
        read_text(path)
    assert read_text(path, encoding="utf-16") == "wide"
    with pytest.raises(ValueError, match="no encoding is called 'klingon'"):
        read_text(path, encoding="klingon")


def test_paths_that_hold_no_text_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such file or folder"):
        TextFiles([tmp_path / "absent"])
    with pytest.raises(FileNotFoundError, match="no such text file"):
        read_text(tmp_path)
    with pytest.raises(ValueError, match=r"no text in this folder, expected files ending in \.txt"):
        TextFiles([tmp_path])
    with pytest.raises(ValueError, match="paths: got none"):
        TextFiles([])
    with pytest.raises(ValueError, match="by: expected 'file' or 'line', got 'page'"):
        TextFiles([tmp_path], by="page")


def _packed(text, *, min_count=1, specials=(), end=None):
    documents = [Document(str(number), part) for number, part in enumerate(text)]
    indexed = index_text(documents, str.split, sentences=str.splitlines)
    vocabulary = Vocabulary.build(indexed.counts(), min_count=min_count, specials=specials)
    return vocabulary, indexed.pack(vocabulary, end=end)


def test_packing_keeps_token_sentence_and_document():
    vocabulary, packed = _packed(["a b\n\na", "", "c a"])
    assert vocabulary.decode(packed.tokens) == ["a", "b", "a", "c", "a"]
    assert packed.sentences.tolist() == [0, 0, 1, 2, 2]
    assert packed.documents.tolist() == [0, 0, 0, 2, 2]
    assert all(part.dtype == np.int32 for part in packed)


def test_rare_tokens_are_left_out_or_become_unknown():
    vocabulary, packed = _packed(["a b a", "c a"], min_count=2)
    assert vocabulary.tokens == ("a",) and packed.documents.tolist() == [0, 0, 1]
    vocabulary, packed = _packed(["a b a", "c a"], min_count=2, specials=(UNKNOWN,))
    assert vocabulary.decode(packed.tokens) == ["a", UNKNOWN, "a", UNKNOWN, "a"]


def test_ends_of_sentences():
    vocabulary, packed = _packed(["a b\nc", "d"], specials=(END,), end=END)
    assert vocabulary.decode(packed.tokens) == ["a", "b", END, "c", END, "d", END]
    assert packed.sentences.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert packed.documents.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_text_without_a_token_is_refused():
    with pytest.raises(ValueError, match=r"no token in 1 document\(s\) \(blank\.txt\)"):
        index_text([Document("blank.txt", " \n")], str.split)
    with pytest.raises(ValueError, match=r"no token in 0 document"):
        index_text([], str.split)
    with pytest.raises(ValueError, match=r"none of its 1 tokens \(a\) is in the vocabulary \(x\)"):
        index_text([Document("d", "a")], str.split).pack(Vocabulary(["x"]))


def test_penn_treebank_in_a_folder_and_in_a_zip_file(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/ptb.train.txt").write_text(" the N <unk> \n it \n")
    assert penn_treebank(tmp_path, "train") == [["the", "N", "<unk>", "<eos>"], ["it", "<eos>"]]
    assert penn_treebank(tmp_path, "train", end=None) == [["the", "N", "<unk>"], ["it"]]
    with zipfile.ZipFile(tmp_path / "ptb.zip", "w") as archive:
        archive.writestr("__MACOSX/._ptb.valid.txt", b"\x00\xff")
        archive.writestr("ptb/ptb.valid.txt", " a \n")
    assert penn_treebank(tmp_path / "ptb.zip", "valid") == [["a", "<eos>"]]
    with pytest.raises(FileNotFoundError, match=r"no ptb\.test\.txt in it"):
        penn_treebank(tmp_path / "ptb.zip", "test")
    with pytest.raises(FileNotFoundError, match=r"no ptb\.test\.txt in it"):
        penn_treebank(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="absent: no such folder or zip file"):
        penn_treebank(tmp_path / "absent", "test")
    with pytest.raises(ValueError, match="not a whole zip file"):
        penn_treebank(tmp_path / "data/ptb.train.txt", "test")
    with pytest.raises(ValueError, match="expected 'train', 'valid' or 'test', got 'dev'"):
        penn_treebank(tmp_path, "dev")


@pytest.mark.skipif(not PTB.exists(), reason="needs the Penn Treebank's ptb.zip")
@pytest.mark.parametrize(("part", "tokens", "sentences"), [("valid", 73760, 3370), ("test", 82430, 3761)])
def test_the_real_penn_treebank_has_its_published_size(part, tokens, sentences):
    read = penn_treebank(PTB, part)
    assert (sum(map(len, read)), len(read)) == (tokens, sentences)


def test_docstrings_and_calls_of_chosen_modules():
    documents = python_documentation(modules=("json", "textwrap"))
    assert any("Serialize ``obj`` to a JSON formatted" in document.text for document in documents)
    assert documents[-1].name.startswith("textwrap.py:")
    assert documents == python_documentation(modules=("json", "textwrap"))
    assert Document("textwrap.py:wrap", "TextWrapper wrap") in python_call_baskets(modules=("textwrap",))
    with pytest.raises(ValueError, match="no source of 'jsson'"):
        python_documentation(modules=("jsson",))


@pytest.mark.slow
def test_the_documentation_of_python_is_large_enough_to_learn_from():
    indexed = index_text(python_documentation(), tokenize_words, sentences=split_sentences)
    assert 250_000 < len(indexed.tokens) < 500_000
    assert sum(count >= 5 for count in indexed.counts().values()) > 3_000
    names = indexed.document_names
    assert any(name.startswith("topics:") for name in names) and "json/__init__.py:dumps" in names
    # A few packages, for to parse the whole library once more takes as long as all before.
    baskets = python_call_baskets(modules=("asyncio", "email", "http", "logging", "unittest", "xml"))
    assert len(baskets) > 1_000
