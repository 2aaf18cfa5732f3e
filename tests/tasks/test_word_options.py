import numpy as np
import pytest

from jaxvision.tasks import TextData, WordModelOptions, WordReportOptions, WordTrainOptions


def _file(folder, text, name="text.txt"):
    (folder / name).write_text(text)
    return (folder / name,)


def test_own_files_are_cut_into_sentences_and_words(tmp_path):
    paths = _file(tmp_path, "The cat sat. The dog,\nsat!\n")
    text = TextData(source="files", paths=paths).read(baskets=False)
    assert text.types == ("the", "cat", "sat", "dog")
    assert text.sentence_lengths.tolist() == [3, 3] and text.document_lengths.tolist() == [6]
    lines = TextData(source="files", paths=paths, documents="line", sentences="lines", tokens="whitespace")
    text = lines.read(baskets=False)
    assert text.types == ("The", "cat", "sat.", "dog,", "sat!")
    assert text.document_lengths.tolist() == [5, 1]
    text = TextData(source="files", paths=paths, tokens="characters").read(baskets=False)
    assert set(text.types) >= {"T", "h", "e"}


def test_a_basket_is_a_line_and_one_sentence(tmp_path):
    paths = _file(tmp_path, "milk bread. Egg\nbread beer\n")
    text = TextData(source="files", paths=paths).read(baskets=True)
    assert text.types == ("milk", "bread.", "Egg", "bread", "beer")
    assert text.document_lengths.tolist() == text.sentence_lengths.tolist() == [3, 2]


def test_the_penn_treebank_is_taken_as_it_is(tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text(f" no it was n't {part} <unk> \n mr. N\n")
    text = TextData(source="ptb", paths=(tmp_path,)).read(baskets=False)
    assert text.types == ("no", "it", "was", "n't", "train", "<unk>", "mr.", "N")
    assert text.sentence_lengths.tolist() == [6, 2]


@pytest.mark.parametrize(
    ("source", "types", "sentences"),
    [("ptb", ("It", "was", "n't.", "Yes."), [4]), ("python", ("it", "was", "n't", "yes"), [3, 1])],
)
def test_other_files_are_read_as_the_text_of_the_run(tmp_path, source, types, sentences):
    paths = _file(tmp_path, "It was n't. Yes.")
    text = TextData(source=source).of_files(paths, baskets=False).read(baskets=False)
    assert text.types == types and text.sentence_lengths.tolist() == sentences


def test_paths_that_do_not_fit_the_source_are_refused(tmp_path):
    for data, message in (
        (TextData(paths=(tmp_path,)), "needs --data.source files as well"),
        (TextData(source="files"), "--data.source files needs --data.paths FILE_OR_FOLDER"),
        (TextData(source="ptb"), "--data.source ptb needs --data.paths FOLDER_OR_ZIP"),
        (TextData(source="ptb", paths=(tmp_path, tmp_path)), "needs --data.paths FOLDER_OR_ZIP"),
        (TextData(source="files", paths=_file(tmp_path, "")), "no token in 1 document"),
    ):
        with pytest.raises(ValueError, match=message):
            data.read(baskets=False)
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    data = TextData(source="files", paths=(tmp_path / "latin.txt",))
    with pytest.raises(ValueError, match="byte 0xe9 at offset 3"):
        data.read(baskets=False)
    data = TextData(source="files", paths=(tmp_path / "latin.txt",), encoding="latin-1")
    assert data.read(baskets=False).types == ("café",)


def test_a_model_is_built_from_its_options():
    lengths = np.array([3, 9, 0])
    model = WordModelOptions(kind="pv-dm", combine="concatenate").build(11, lengths, batch_size=64)
    assert (model.kind, model.num_documents, model.window, model.shrink) == ("pv_dm", 3, 5, True)
    assert (model.combine, model.batch_size, model.vocabulary_size) == ("concatenate", 64, 11)
    items = WordModelOptions(kind="item2vec").build(11, lengths, batch_size=64)
    assert (items.kind, items.window, items.shrink, items.shuffle) == ("skipgram", 8, False, True)
    assert WordModelOptions(kind="item2vec").build(11, np.array([900]), batch_size=64).window == 50
    assert WordModelOptions(kind="item2vec", window=2).build(11, lengths, batch_size=64).window == 2
    # As the help of --model.shared-negatives says: as many as the batch has words, or half as many.
    assert (items.num_noise, model.num_noise) == (64, 32)
    with pytest.raises(ValueError, match=r"1 different word\(s\) often enough.*lower --data\.min-count"):
        WordModelOptions().build(1, lengths, batch_size=64)
    with pytest.raises(ValueError, match="combine: only pv_dm"):
        WordModelOptions(combine="concatenate").build(3, lengths, batch_size=64)


def test_the_rate_falls_linearly_to_zero():
    schedule = WordTrainOptions().schedule("skipgram", steps=10)
    np.testing.assert_allclose([schedule(step) for step in (0, 5, 10)], [0.025, 0.0125, 0], atol=1e-8)
    assert WordTrainOptions().rate("cbow") == 0.05
    assert WordTrainOptions(learning_rate=0.1).rate("cbow") == 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--train.epochs: got 0"),
        ({"batch_size": 0}, "--train.batch-size: got 0"),
        ({"chunk_size": -1}, "--train.chunk-size: got -1"),
        ({"learning_rate": 0.0}, "--train.learning-rate: got 0.0"),
        ({"learning_rate": float("nan")}, "--train.learning-rate: got nan"),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        WordTrainOptions(**options)


def test_reports_need_a_word_and_a_neighbour():
    for options, message in (
        ({"neighbours": 0}, "--report.neighbours: got 0"),
        ({"map_words": 0}, "--report.map-words: got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            WordReportOptions(**options)
