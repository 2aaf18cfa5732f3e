import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import contact_sheet, overlay, voc_palette, write_palette_png, write_png

PALETTE = voc_palette()
MASK = np.array([[0, 1, 20], [255, 2, 0]], np.int32)


def test_palette_png_has_one_channel_of_indices_and_the_palette(tmp_path):
    path = write_palette_png(tmp_path / "out" / "a.png", MASK, PALETTE)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), MASK)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), PALETTE[MASK])
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


def test_png_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    with Image.open(write_png(tmp_path / "a.png", image)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), image)


def test_overlay_blends_and_leaves_void():
    image = np.full((2, 3, 3), 100, np.uint8)
    got = overlay(image, MASK, palette=PALETTE, alpha=0.25)
    wanted = np.rint(75 + 0.25 * PALETTE[MASK].astype(float))
    wanted[1, 0] = 100
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.uint8
    shown = overlay(image, MASK, palette=PALETTE, alpha=1.0, ignore_index=None)
    np.testing.assert_array_equal(shown, PALETTE[MASK])
    plain = overlay(image, MASK, palette=PALETTE, alpha=1.0, ignore_index=0)
    assert plain[0, 0].tolist() == [100, 100, 100]
    assert plain[0, 1].tolist() == [128, 0, 0]


def make_row(height: int = 20, width: int = 30) -> list[np.ndarray]:
    image = np.full((height, width, 3), (10, 200, 30), np.uint8)
    truth = np.zeros((height, width), np.uint8)
    truth[:, width // 2 :] = 1
    prediction = np.full((height, width), 255, np.uint8)
    return [image, truth, prediction]


def test_contact_sheet_shows_each_picture_in_its_column():
    sheet = contact_sheet(
        [make_row(), make_row(40, 20)], class_names=["background", "bird", "cat"], palette=PALETTE, cell=120
    )
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 8 + 3 * (120 + 8)
    colours = {
        "image": (10, 200, 30),
        "background": tuple(PALETTE[0].tolist()),
        "bird": tuple(PALETTE[1].tolist()),
        "void": tuple(PALETTE[255].tolist()),
    }
    columns = [sheet[30:-40, 8 + 128 * column : 128 + 128 * column] for column in range(3)]
    for column, names in enumerate([{"image"}, {"background", "bird"}, {"void"}]):
        shown = set(map(tuple, np.unique(columns[column].reshape(-1, 3), axis=0).tolist()))
        assert shown == {colours[name] for name in names} | {(255, 255, 255)}
    # The first row is 120 wide and 80 high, the second 60 wide and 120 high: whole, in proportion.
    is_image = (sheet == colours["image"]).all(-1)
    assert is_image.sum() == 120 * 80 + 60 * 120


def test_contact_sheet_legend_holds_the_classes_that_appear():
    def legend(names: list[str]) -> np.ndarray:
        return contact_sheet([make_row()], class_names=names, palette=PALETTE, cell=120)[-30:]

    first = legend(["background", "bird", "cat"])
    swatches = set(map(tuple, first.reshape(-1, 3).tolist()))
    for index in (0, 1, 255):
        assert tuple(PALETTE[index].tolist()) in swatches
    assert tuple(PALETTE[2].tolist()) not in swatches  # no cat anywhere
    assert (first != legend(["background", "fish", "cat"])).any()  # the names are written out
    np.testing.assert_array_equal(first, legend(["background", "bird", "dog"]))


def test_contact_sheet_titles_and_long_legends():
    mask = np.arange(40, dtype=np.uint8).reshape(5, 8)
    names = [f"a rather long name {index}" for index in range(38)]  # two classes have no name
    one = contact_sheet([[mask]], class_names=names, palette=PALETTE, titles=["truth"], cell=200)
    other = contact_sheet([[mask]], class_names=names, palette=PALETTE, titles=["guess"], cell=200)
    assert (one[:28] != other[:28]).any()
    np.testing.assert_array_equal(one[28:], other[28:])
    assert one.shape[0] > 125 + 40 * 22  # one name a line, because two do not fit
    assert one.shape[1] == 216


def test_captions_stand_above_their_rows():
    rows = [make_row(), make_row()]
    plain = contact_sheet(rows, class_names=["a", "b"], palette=PALETTE)
    captioned = contact_sheet(rows, class_names=["a", "b"], palette=PALETTE, captions=["first", "x" * 500])
    line = (captioned.shape[0] - plain.shape[0]) // 2
    assert captioned.shape == (plain.shape[0] + 2 * line, *plain.shape[1:])
    np.testing.assert_array_equal(captioned[:line], plain[:line])  # the titles
    assert (captioned[line : 2 * line, :100] < 128).any()  # ink
    blank = contact_sheet(rows, class_names=["a", "b"], palette=PALETTE, captions=["", ""])
    np.testing.assert_array_equal(blank[-line:], captioned[-line:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: contact_sheet([make_row()], class_names=[], palette=PALETTE, captions=["a", "b"]),
            "got 2 captions for 1 rows",
        ),
        (lambda: write_png("a.png", np.zeros((2, 3, 3))), r"image: got float64 \[2, 3, 3\]"),
        (lambda: write_png("a.png", np.zeros((2, 3, 4), np.uint8)), r"image: got uint8 \[2, 3, 4\]"),
        (lambda: contact_sheet([], class_names=[], palette=PALETTE), "got no rows"),
        (
            lambda: contact_sheet([make_row()[:2]], class_names=[], palette=PALETTE),
            "row 0 has 2 pictures, expected 3: image, ground truth, prediction",
        ),
        (
            lambda: overlay(np.zeros((2, 2, 3), np.uint8), MASK, palette=PALETTE),
            r"image: got uint8 \[2, 2, 3\] for a mask of \[2, 3\]",
        ),
        (
            lambda: overlay(np.zeros((2, 3, 3), np.float32), MASK, palette=PALETTE),
            r"image: got float32 \[2, 3, 3\]",
        ),
        (
            lambda: overlay(np.zeros((2, 3, 3), np.uint8), MASK, palette=PALETTE, alpha=2.0),
            r"alpha: got 2\.0",
        ),
        (
            lambda: overlay(np.zeros((2, 3, 3), np.uint8), MASK, palette=PALETTE[:21]),
            r"palette: got uint8 \[21, 3\]",
        ),
        (lambda: write_palette_png("a.png", MASK.astype(np.float32), PALETTE), r"mask: got float32 \[2, 3\]"),
        (lambda: write_palette_png("a.png", MASK[None], PALETTE), r"mask: got int32 \[1, 2, 3\]"),
        (lambda: write_palette_png("a.png", MASK - 1, PALETTE), "mask: got values -1 to 254"),
        (lambda: write_palette_png("a.png", MASK + 1, PALETTE), "mask: got values 1 to 256"),
    ],
)
def test_bad_arguments_are_named(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        call()
    assert list(tmp_path.iterdir()) == []
