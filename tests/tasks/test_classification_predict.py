import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from jaxvision.tasks.classification_predict import classify_files, write_predictions
from jaxvision.weights import Preprocessing

PLAIN = Preprocessing(size=(4, 4), resize=4, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def files(tmp_path):
    """Five images of rising brightness, the third one broken."""
    for index in range(5):
        Image.fromarray(np.full((6, 8, 3), 50 * index, np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    return [tmp_path / f"{index}.png" for index in range(5)]


def _logits(seen):
    def logits(images):
        seen.append(images.shape)
        bright = images.mean((1, 2, 3))
        return np.stack([bright, 0.4 - bright, bright - 0.1], -1)

    return logits


def test_files_are_classified_in_batches_of_one_size(files, capsys):
    seen = []
    found = classify_files(_logits(seen), files, PLAIN, temperature=1.0, batch_size=2)
    assert seen == [(2, 4, 4, 3)] * 3
    assert [path.name for path, _ in found] == ["0.png", "1.png", "3.png", "4.png"]
    assert "2.png" in capsys.readouterr().err
    for path, probabilities in found:
        x = int(path.stem) * 50 / 255
        np.testing.assert_allclose(probabilities, softmax([x, 0.4 - x, x - 0.1]), rtol=1e-5)


def test_a_temperature_flattens_the_probabilities(files):
    (_, plain), *_ = classify_files(_logits([]), files, PLAIN, temperature=1.0, batch_size=9)
    (_, flat), *_ = classify_files(_logits([]), files, PLAIN, temperature=100.0, batch_size=9)
    assert plain.argmax() == flat.argmax()
    assert flat.max() < plain.max()


def test_a_batch_of_broken_files_is_passed_over(files):
    assert classify_files(_logits([]), files[2:3], PLAIN, temperature=1.0, batch_size=1) == []
    with pytest.raises(ValueError, match="batch_size: got 0"):
        classify_files(_logits([]), files, PLAIN, temperature=1.0, batch_size=0)


def test_an_image_that_cannot_be_prepared_is_named_and_the_others_are_done(files, capsys):
    Image.fromarray(np.zeros((1, 30_000, 3), np.uint8)).save(files[2])
    big = PLAIN._replace(resize=100, size=(4, 4))
    found = classify_files(_logits([]), files, big, temperature=1.0, batch_size=5)
    assert [path.name for path, _ in found] == ["0.png", "1.png", "3.png", "4.png"]
    assert "2.png: an image of 1 x 30000 would be resized" in capsys.readouterr().err


def test_the_most_probable_classes_are_written(files, tmp_path):
    predictions = [(files[0], np.array([0.2, 0.5, 0.3])), (files[1], np.array([0.4, 0.4, 0.2]))]
    written = write_predictions(tmp_path / "out", predictions, ("ä", "b", "c"), top=2)
    assert [path.name for path in written] == ["predictions.json", "predictions.csv"]
    records = json.loads(written[0].read_text(encoding="utf-8"))
    assert records[0] == {
        "image": str(files[0]),
        "classes": [{"class": "b", "probability": 0.5}, {"class": "c", "probability": 0.3}],
    }
    with written[1].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class1"] for row in rows] == ["b", "ä"]
    assert rows[1]["probability2"] == "0.400000"


def test_more_classes_than_there_are_list_all(files, tmp_path):
    write_predictions(tmp_path, [(files[0], np.array([0.2, 0.8]))], ("a", "b"), top=5)
    assert len(json.loads((tmp_path / "predictions.json").read_text())[0]["classes"]) == 2
    assert [p.name for p in write_predictions(tmp_path, [], ("a", "b"), top=5)] == ["predictions.json"]
    with pytest.raises(ValueError, match="top: got 0"):
        write_predictions(tmp_path, [], ("a", "b"), top=0)
