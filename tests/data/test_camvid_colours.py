import pickle

import numpy as np
import pytest
from oracles.annotation_files import write_array, write_photo
from PIL import Image

from jaxvision.data import CAMVID_CLASSES, CAMVID_GROUPS, CamVidColours, CamVidFolder, open_camvid
from jaxvision.pictures import camvid_palette

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


# The published table in its own order, with its colours.
PUBLISHED = """\
64 128 64 Animal
192 0 128 Archway
0 128 192 Bicyclist
0 128 64 Bridge
128 0 0 Building
64 0 128 Car
64 0 192 CartLuggagePram
192 128 64 Child
192 192 128 Column_Pole
64 64 128 Fence
128 0 192 LaneMkgsDriv
192 0 64 LaneMkgsNonDriv
128 128 64 Misc_Text
192 0 192 MotorcycleScooter
128 64 64 OtherMoving
64 192 128 ParkingBlock
64 64 0 Pedestrian
128 64 128 Road
128 128 192 RoadShoulder
0 0 192 Sidewalk
192 128 128 SignSymbol
128 128 128 Sky
64 128 192 SUVPickupTruck
0 0 64 TrafficCone
0 64 64 TrafficLight
192 64 128 Train
128 128 0 Tree
192 128 192 Truck_Bus
64 0 64 Tunnel
192 192 0 VegetationMisc
0 0 0 Void
64 192 0 Wall"""
INDEX_OF_GROUP = [
    *(9, 1, 10, 1, 1, 8, 9, 9, 2, 7, 3, 3, 6, 10, 8, 4, 9, 3, 4, 4, 6, 0, 8, 2, 6, 8, 5, 8, 1, 5, 255, 1),
]


def write_published(root, *, names="ab"):
    colours = np.array([[line.split()[:3] for line in PUBLISHED.splitlines()]], np.uint8)  # [1, 32, 3]
    for name in names:
        write_photo(root / "701_StillsRaw_full" / f"{name}.png", (1, 32))
        write_array(root / "LabeledApproved_full" / f"{name}_L.png", colours)
    (root / "label_colors.txt").write_text(PUBLISHED)


def test_the_32_classes_become_the_11_that_are_scored(tmp_path):
    write_published(tmp_path)
    folder = open_camvid(tmp_path, "train", grouped=True)
    assert folder.class_names == CAMVID_CLASSES
    np.testing.assert_array_equal(folder[0]["mask"], [INDEX_OF_GROUP])
    np.testing.assert_array_equal(folder.palette, camvid_palette())
    assert tuple(CAMVID_GROUPS) == CAMVID_CLASSES
    grouped = [name for names in CAMVID_GROUPS.values() for name in names]
    assert sorted([*grouped, "Void"]) == sorted(line.split()[3] for line in PUBLISHED.splitlines())
    assert open_camvid(tmp_path, "train").num_classes == 31


def test_groups_of_another_table_are_refused(parts):
    with (parts / "class_dict.csv").open("a") as file:
        file.write("\nHouse,1,2,3\n")
    with pytest.raises(ValueError, match=r"House in the table of classes: none of CamVid's"):
        open_camvid(parts, "train", grouped=True)


def test_masks_of_indices_are_grouped_already(tmp_path):
    write_photo(tmp_path / "train" / "a.png", (1, 4))
    write_array(tmp_path / "trainannot" / "a.png", np.zeros((1, 4), np.uint8))
    (tmp_path / "train.txt").write_text("a")
    assert open_camvid(tmp_path, "train", grouped=True).class_names == CAMVID_CLASSES


def test_the_share_to_validate_on_follows_the_options(whole):
    parts = [open_camvid(whole, part, val_fraction=0.5) for part in ("train", "val")]
    assert [len(part) for part in parts] == [3, 3]
    others = {open_camvid(whole, "val", val_fraction=0.5, seed=seed).names for seed in range(5)}
    assert len(others) > 1
    (whole / "test.txt").write_text("p3\np1")
    train, val = (open_camvid(whole, part, val_fraction=0.5).names for part in ("train", "val"))
    assert (len(train), len(val)) == (2, 2)
    assert not {"p3", "p1"} & {*train, *val}
