import pickle

import numpy as np
import pytest
from oracles.annotation_files import write_array, write_photo
from PIL import Image

from jaxvision.data import CamVidColours, CamVidFolder, open_camvid

COLOURS = {"Animal": (64, 128, 64), "Road": (128, 64, 128), "Void": (0, 0, 0), "Wall": (64, 192, 0)}
COLOURED = np.array([[COLOURS["Wall"], COLOURS["Void"], COLOURS["Animal"], COLOURS["Road"]]], np.uint8)
INDICES = [[2, 255, 0, 1]]


def write_csv(root):
    lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()]
    (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *lines]))


@pytest.fixture
def parts(tmp_path):
    for part, name in (("train", "a"), ("train", "b"), ("val", "c")):
        write_photo(tmp_path / part / f"{name}.png", (1, 4))
        write_array(tmp_path / f"{part}_labels" / f"{name}_L.png", COLOURED)
    write_csv(tmp_path)
    return tmp_path


@pytest.fixture
def whole(tmp_path):
    for number in range(6):
        write_photo(tmp_path / "701_StillsRaw_full" / f"p{number}.png", (1, 4))
        write_array(tmp_path / "LabeledApproved_full" / f"p{number}_L.png", COLOURED)
    lines = [f"{r} {g} {b}\t\t{name}" for name, (r, g, b) in COLOURS.items()]
    (tmp_path / "label_colors.txt").write_text("\n".join(lines))
    return tmp_path


def test_parts_and_a_csv_table(parts):
    folder = open_camvid(parts, "train")
    assert isinstance(folder, CamVidColours)
    assert folder.names == ("a", "b")
    assert folder.class_names == ("Animal", "Road", "Wall")
    np.testing.assert_array_equal(folder[0]["mask"], INDICES)
    np.testing.assert_array_equal(folder.palette[:3], [COLOURS[name] for name in ("Animal", "Road", "Wall")])
    assert open_camvid(parts, "val").names == ("c",)
    assert pickle.loads(pickle.dumps(folder))[1]["name"] == "b"


def test_masks_with_the_names_of_the_images(parts):
    (parts / "val_labels" / "c_L.png").rename(parts / "val_labels" / "c.png")
    assert open_camvid(parts, "val").names == ("c",)


def test_the_published_layout_and_a_text_table(whole):
    train, val = (open_camvid(whole, split) for split in ("train", "val"))
    assert train.class_names == ("Animal", "Road", "Wall")
    assert sorted(train.names + val.names) == [f"p{number}" for number in range(6)]
    assert len(val) == 1
    np.testing.assert_array_equal(val[0]["mask"], INDICES)
    (whole / "test.txt").write_text("p3.png\np1\n")
    assert open_camvid(whole, "test").names == ("p3", "p1")


def test_palette_masks_count_by_their_colours(parts):
    picture = Image.fromarray(COLOURED).quantize(4)
    assert picture.mode == "P"
    picture.save(parts / "train_labels" / "a_L.png")
    np.testing.assert_array_equal(open_camvid(parts, "train")[0]["mask"], INDICES)


def test_colours_that_are_not_listed(parts):
    changed = COLOURED.copy()
    changed[0, 0] = (1, 2, 3)
    write_array(parts / "train_labels" / "a_L.png", changed)
    with pytest.raises(
        ValueError, match=r"a_L\.png: colours that are not in the table .*: \(1, 2, 3\) \(1 px\)"
    ):
        open_camvid(parts, "train")[0]
    folder = CamVidColours(parts, "train", unlisted_is_void=True)
    np.testing.assert_array_equal(folder[0]["mask"], [[255, 255, 0, 1]])


def test_missing_parts(parts, tmp_path):
    (parts / "train_labels" / "a_L.png").unlink()
    with pytest.raises(ValueError, match="train_labels: image without mask: a"):
        open_camvid(parts, "train")
    assert open_camvid(parts, "train", skip_broken=True).names == ("b",)
    with pytest.raises(FileNotFoundError, match="test: no such folder"):
        open_camvid(parts, "test")
    (parts / "class_dict.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither class_dict\.csv nor label_colors\.txt"):
        CamVidColours(parts, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car,1,2", "expected a name and a colour of three numbers"),
        ("Car,1,2,256", "expected a name and a colour of three numbers"),
        ("Car,1,2,x", "expected a name and a colour of three numbers"),
        ("Road,1,2,3", "the name or the colour was there before"),
        ("Car,0,0,0", "the name or the colour was there before"),
    ],
)
def test_broken_tables(parts, line, message):
    with (parts / "class_dict.csv").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(ValueError, match=rf"class_dict\.csv: line '{line}'.*{message}"):
        open_camvid(parts, "train")


def test_the_layout_of_segnet_is_still_read(tmp_path):
    write_photo(tmp_path / "train" / "a.png", (1, 4))
    write_array(tmp_path / "trainannot" / "a.png", np.zeros((1, 4), np.uint8))
    (tmp_path / "train.txt").write_text("a")
    assert isinstance(open_camvid(tmp_path, "train"), CamVidFolder)
    write_csv(tmp_path)
    assert isinstance(open_camvid(tmp_path, "train"), CamVidFolder)
