import dataclasses

import numpy as np
import pytest
from oracles.annotation_files import coco, write_array, write_coco, write_labelme, write_photo
from PIL import Image

from jaxvision.pictures import camvid_palette, cityscapes_palette, voc_palette
from jaxvision.tasks import SegmentationData
from jaxvision.tasks.segmentation_options import checked_sources
from jaxvision.weights import Preprocessing


def test_digits_have_three_disjoint_parts():
    train, val, test = SegmentationData(train_scenes=5, eval_scenes=3).open_sources()
    assert [len(s) for s in (train, val, test)] == [5, 3, 3]
    assert [s.split for s in (train, val, test)] == ["train", "val", "test"]


def test_a_folder_is_tested_on_its_validation_part(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(5):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    train, val, test = SegmentationData(source="folder", root=tmp_path).open_sources()
    assert (len(train), len(val)) == (4, 1)
    assert test is val
    assert train.class_names == ("a", "b")


def test_a_rare_class_is_no_mistake(tmp_path, capsys):
    for number in range(3):
        write_photo(tmp_path / "images" / f"{number}.png")
        write_array(tmp_path / "masks" / f"{number}.png", np.zeros((24, 32), np.uint8))
    (tmp_path / "classes.txt").write_text("sound\ncrack\n")
    train, *_ = checked_sources(SegmentationData(source="folder", root=tmp_path))
    assert not train[0]["mask"].any()
    assert "nothing but 'sound' in the training masks looked at" in capsys.readouterr().out


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"needs --data\.root"):
        SegmentationData(source="voc").open_sources()
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        SegmentationData(source="voc", root=tmp_path / "absent").open_sources()


def test_the_size_is_that_of_the_source_unless_given():
    expected = Preprocessing()
    for options, size in (
        ({}, (48, 48)),
        ({"source": "labelme"}, (256, 256)),
        ({"source": "labelme", "size": (8, 12)}, (8, 12)),
    ):
        data = SegmentationData(**options)
        assert data.image_size == data.preprocessing().size == data.resolved(expected).size == size
    (scene, *_), _, _ = SegmentationData(train_scenes=1, eval_scenes=1).open_sources()
    assert scene["mask"].shape == (48, 48)


def test_crops_of_images_that_are_resized_or_keep_their_size():
    rows = np.arange(40, dtype=np.uint8)[:, None]
    record = {"image": np.broadcast_to(rows[..., None], (40, 60, 3)), "mask": np.broadcast_to(rows, (40, 60))}
    options = {"source": "camvid", "crop": (16, 24), "jitter": 0.0, "flip": 0.0}
    own = SegmentationData(**options)
    assert own.preprocessing()[:2] == ((16, 24), None)
    assert (own.resize, own.image_size, own.resolved(Preprocessing()).size) == (None, (16, 24), None)
    assert own.size_in_words == "in crops of 16 x 24 (--data.crop)"
    rngs = [np.random.default_rng(seed) for seed in range(9)]
    seen = {int(own.train_transform()(record, rng)["mask"][0, 0]) for rng in rngs}
    assert len(seen) > 3  # a row of the image each: nothing is resized
    middle = own.eval_transform()(record, np.random.default_rng(0))
    np.testing.assert_array_equal(middle["mask"][:, 0], np.arange(12, 28))
    resized = SegmentationData(size=(20, 30), **options)
    assert (resized.resize, resized.image_size) == ((20, 30), (16, 24))
    assert resized.preprocessing().size == (20, 30)
    assert resized.size_in_words == "resized to 20 x 30 (--data.size), in crops of 16 x 24 (--data.crop)"
    part = resized.train_transform()(record, np.random.default_rng(0))["mask"]
    assert part.shape == (16, 24) and (np.diff(part[:, 0].astype(int)) == 2).all()
    assert resized.eval_transform()(record, np.random.default_rng(0))["mask"].shape == (20, 30)
    large = {"image": np.zeros((10, 60, 3), np.uint8), "mask": np.zeros((10, 60), np.uint8)}
    borders = []
    for transform in (own.train_transform(), own.eval_transform()):
        seen = transform(large, np.random.default_rng(0))
        void = seen["mask"] == 255
        assert void.shape == (16, 24) and void.sum() == 6 * 24  # what the image does not fill
        borders.append(np.unique(seen["image"][void], axis=0))
    np.testing.assert_array_equal(*borders)
    assert abs(borders[0]).max() < 0.02
    for wrong in ({"size": (20, 30), "crop": (24, 24)}, {"source": "digits", "crop": (64, 16)}):
        with pytest.raises(ValueError, match=r"--data\.crop: got .* larger --data\.size"):
            SegmentationData(**{**options, **wrong})
    SegmentationData(**{**options, "size": (20, 30), "crop": (24, 24), "scale": (0.5, 2.0)})
    (scene, *_), _, _ = SegmentationData(crop=(16, 16), train_scenes=1, eval_scenes=1).open_sources()
    assert scene["mask"].shape == (48, 48)


def test_digits_are_not_mirrored_and_folders_are():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 0] = 255
    record = {"image": image, "mask": (image[..., 0] > 0).astype(np.uint8)}

    def mirrored(source):
        transform = SegmentationData(source=source, size=(8, 8), jitter=0.0).train_transform()
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        return sum(transform(record, rng)["mask"][0, -1] for rng in rngs)

    assert mirrored("digits") == 0
    assert 0 < mirrored("camvid") < 20


def test_scaled_images_are_cropped_to_the_size():
    transform = SegmentationData(size=(16, 24), scale=(0.5, 2.0)).train_transform()
    record = {"image": np.zeros((30, 40, 3), np.uint8), "mask": np.zeros((30, 40), np.uint8)}
    for seed in range(5):
        changed = transform(record, np.random.default_rng(seed))
        assert changed["image"].shape == (16, 24, 3)
        assert changed["mask"].shape == (16, 24)


def test_a_labelme_folder_is_split_and_its_classes_are_collected(tmp_path):
    write_labelme(tmp_path, 10)
    data = SegmentationData(source="labelme", root=tmp_path, val_fraction=0.3)
    train, val, test = data.open_sources()
    assert (len(train), len(val)) == (7, 3)
    assert test is val
    assert train.class_names == ("_background_", "car", "road")
    np.testing.assert_array_equal(data.palette(), voc_palette())
    other = dataclasses.replace(data, split_seed=3).open_sources()[1]
    assert other.names != val.names
    labels = tmp_path / "mine.txt"
    labels.write_text("road\ncar\n")
    assert dataclasses.replace(data, labels=labels).open_sources()[0].class_names[1] == "road"


def test_broken_files_stop_or_are_left_out(tmp_path, capsys):
    write_labelme(tmp_path, 10)
    (tmp_path / "a0.json").write_text("{")
    (tmp_path / "a1.jpg").write_bytes(b"broken")
    data = SegmentationData(source="labelme", root=tmp_path)
    with pytest.raises(ValueError, match=r"a0\.json: not a JSON file"):
        data.open_sources()
    train, val, _ = dataclasses.replace(data, skip_broken=True).open_sources()
    assert sorted(train.names + val.names) == [f"a{number}" for number in range(2, 10)]
    printed = capsys.readouterr().out
    assert "a0.json: not a JSON file" in printed
    assert "a1.jpg: not a picture" in printed


def test_colours_are_those_of_the_data(tmp_path):
    np.testing.assert_array_equal(SegmentationData(source="cityscapes").palette(), cityscapes_palette())
    np.testing.assert_array_equal(SegmentationData(source="camvid").palette(), camvid_palette())
    for part in ("train", "val"):
        write_photo(tmp_path / part / f"{part}.png")
        write_photo(tmp_path / f"{part}_labels" / f"{part}.png", grey=9)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nNight,9,9,9\n")
    data = SegmentationData(source="camvid", root=tmp_path)
    assert not data.open_sources()[0][0]["mask"].any()
    assert data.palette()[0].tolist() == [9, 9, 9]


def test_a_folder_with_a_list_is_tested_on_it(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nground\n")
    for number in range(4):
        write_photo(tmp_path / "images" / f"{number}.png")
        write_array(tmp_path / "masks" / f"{number}.png", np.ones((24, 32), np.uint8))
    for part, names in {"train": "0\n1", "val": "2", "test": "3"}.items():
        (tmp_path / f"{part}.txt").write_text(names)
    data = SegmentationData(source="folder", root=tmp_path)
    assert [len(source) for source in data.open_sources()] == [2, 1, 1]
    assert data.open_sources()[2][0]["name"] == "3"
    (tmp_path / "test.txt").unlink()
    _, val, test = data.open_sources()
    assert test is val


def test_colours_are_known_where_the_data_is_gone(tmp_path):
    data = SegmentationData(source="camvid", root=tmp_path / "gone")
    np.testing.assert_array_equal(data.palette(), camvid_palette())


def test_options_reach_the_readers(tmp_path):
    write_coco(tmp_path, coco())
    write_coco(tmp_path, coco(), part="train2017")
    data = SegmentationData(source="coco", root=tmp_path, annotations="instances")
    assert data.open_sources()[0].num_classes == 3
    with pytest.raises(FileNotFoundError, match=r"expected one of annotations/stuff_\*"):
        dataclasses.replace(data, annotations="stuff").open_sources()
    with pytest.raises(ValueError, match="coarse: only cityscapes"):
        dataclasses.replace(data, coarse=True).open_sources()


def test_one_part_is_opened_alone(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nground\n")
    for number in range(4):
        write_photo(tmp_path / "images" / f"{number}.png")
        write_array(tmp_path / "masks" / f"{number}.png", np.ones((24, 32), np.uint8))
    for part, names in {"train": "0\nabsent", "val": "2", "test": "3"}.items():
        (tmp_path / f"{part}.txt").write_text(names)
    data = SegmentationData(source="folder", root=tmp_path)
    source, part = data.open_part("test")
    assert (source.names, part) == (("3",), "test")
    with pytest.raises(ValueError, match="absent"):
        data.open_part("train")
    (tmp_path / "test.txt").unlink()
    source, part = data.open_part("test")
    assert (source.names, part) == (("2",), "val")
    scenes, part = SegmentationData(eval_scenes=3).open_part("test")
    assert (scenes.split, len(scenes), part) == ("test", 3, "test")
    with pytest.raises(ValueError, match=r"needs --data\.root"):
        SegmentationData(source="voc").open_part("test")


def test_images_are_normalised_as_the_weights_expect_unless_it_is_said():
    expected = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    data = SegmentationData(size=(8, 12))
    assert data.normalize().mean == pytest.approx((0.485, 0.456, 0.406))
    resolved = data.resolved(expected)
    assert (resolved.mean, resolved.std) == (expected.mean, expected.std)
    record = {"image": np.full((8, 12, 3), 255, np.uint8), "mask": np.zeros((8, 12), np.uint8)}
    seen = resolved.eval_transform()(record, np.random.default_rng(0))["image"]
    np.testing.assert_allclose(seen[0, 0], [0.5 / 0.1, 0.6 / 0.2, 0.7 / 0.3], rtol=1e-5)
    said = dataclasses.replace(data, mean=(0.0, 0.0, 0.0)).resolved(expected)
    assert (said.mean, said.std) == ((0.0, 0.0, 0.0), expected.std)
    assert said.resolved(Preprocessing()) == said  # a resumed run keeps what it has
    saved = resolved.preprocessing()
    assert (saved.size, saved.mean, saved.std) == ((8, 12), expected.mean, expected.std)


@pytest.mark.parametrize(
    "expected",
    [Preprocessing(channel_order="bgr"), Preprocessing(frames=8), Preprocessing(mean=(0.5,), std=(1.0,))],
)
def test_weights_of_other_inputs_are_refused(expected):
    with pytest.raises(ValueError, match=r"images are prepared as \[H, W, 3\] in rgb"):
        SegmentationData().resolved(expected)
