import pickle

import pytest
from oracles.annotation_files import write_labelme

from jaxvision.data import ImageMaskFolder, LabelmeFolder, Selection, split_by_hash


@pytest.fixture
def source(tmp_path):
    return LabelmeFolder(write_labelme(tmp_path, 10))


def test_a_selection_is_a_source(source):
    part = Selection(source, [4, 1, 1])
    assert part.names == ("a4", "a1", "a1")
    assert [part[index]["name"] for index in range(3)] == ["a4", "a1", "a1"]
    assert part[-1]["name"] == "a1"
    assert part.class_names == source.class_names
    assert part.num_classes == 3
    assert part.picture_of(0).name == "a4.jpg"
    assert pickle.loads(pickle.dumps(part))[0]["name"] == "a4"
    with pytest.raises(IndexError):
        part[3]


def test_positions_must_be_those_of_the_source(source):
    with pytest.raises(ValueError, match=r"no record left of 10.*\n  a\.json: bad"):
        Selection(source, [], broken=["a.json: bad"])
    for indices in ([0, 10], [-1]):
        with pytest.raises(ValueError, match=r"expected 0\.\.9"):
            Selection(source, indices)


def test_the_split_is_that_of_the_plain_folder(source, tmp_path):
    train, val = split_by_hash(source, val_fraction=0.3, seed=5)
    assert len(val) == 3
    assert sorted(train.names + val.names) == sorted(source.names)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in source.names:
            (tmp_path / kind / f"{name}.png").touch()
    for split, part in (("train", train), ("val", val)):
        plain = ImageMaskFolder(tmp_path, split=split, class_names=["a"], val_fraction=0.3, seed=5)
        assert part.names == plain.names


def test_what_was_left_out_stays_with_the_first_part(source, tmp_path):
    (tmp_path / "a3.json").write_text("{")
    train, val = split_by_hash(LabelmeFolder(tmp_path, skip_broken=True))
    assert len(train.broken) == 1
    assert val.broken == ()


def test_splits_that_cannot_be(source):
    with pytest.raises(ValueError, match=r"val_fraction: got 1\.5"):
        split_by_hash(source, val_fraction=1.5)
    with pytest.raises(ValueError, match="got 1 image, expected at least 2"):
        split_by_hash(Selection(source, [3]))
    with pytest.raises(ValueError, match="2 records but 1 names"):
        split_by_hash(Selection(source, [3, 3]))
