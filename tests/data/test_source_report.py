import numpy as np
import pytest
from oracles.annotation_files import write_array, write_photo

from jaxvision.data import ImageMaskFolder, check_source, format_report, report_source


@pytest.fixture
def folder(tmp_path):
    for number, size in enumerate([(4, 5), (4, 5), (6, 7), (4, 5)]):
        mask = np.zeros(size, np.uint8)
        mask[0, :2] = (0, 255) if number < 2 else (1, 1)
        write_photo(tmp_path / "images" / f"p{number}.png", size)
        write_array(tmp_path / "masks" / f"p{number}.png", mask)
    return ImageMaskFolder(tmp_path, class_names=["field", "road", "lamp"])


def break_last(folder):
    folder.pairs[3][2].write_bytes(b"broken")


def test_what_is_there(folder):
    report = check_source(folder)
    assert report.readable == (0, 1, 2, 3)
    assert report.pixels == {"field": 96, "road": 4, "lamp": 0, "void": 2}
    assert report.images == {"field": 4, "road": 2, "lamp": 0, "void": 2}
    assert report.sizes == {(4, 5): 3, (6, 7): 1}
    assert report.broken == ()


def test_the_table(folder):
    break_last(folder)
    lines = format_report(report_source(folder)).splitlines()
    assert lines[0] == "3 images, 3 classes"
    assert [line.split() for line in lines[1:6]] == [
        ["class", "pixels", "share", "images"],
        ["field", "78", "95.12", "%", "3"],
        ["road", "2", "2.44", "%", "1"],
        ["lamp", "0", "0.00", "%", "0"],
        ["void", "2", "2.44", "%", "2"],
    ]
    assert len({len(line) for line in lines[1:6]}) == 1
    assert lines[6] == "sizes (width x height): 5x4 (2), 7x6 (1)"
    assert lines[7] == "in no image: lamp"
    assert lines[8] == "1 of 4 records are broken:"
    assert "p3.png: not a picture" in lines[9]


def test_broken_records_stop_unless_they_are_skipped(folder):
    break_last(folder)
    with pytest.raises(ValueError, match=r"1 of 4 records are broken:\n.*p3\.png"):
        check_source(folder)
    report = check_source(folder, skip_broken=True)
    assert report.readable == (0, 1, 2)
    assert [broken.position for broken in report.broken] == [3]


def test_what_was_left_out_when_the_source_was_opened_is_broken_too(folder, tmp_path):
    (tmp_path / "masks" / "p0.png").unlink()
    source = ImageMaskFolder(tmp_path, class_names=["field", "road", "lamp"], skip_broken=True)
    report = check_source(source, skip_broken=True)
    assert report.broken[0].position is None
    assert "image without mask: p0" in report.broken[0].reason
    with pytest.raises(ValueError, match="1 of 4 records are broken"):
        check_source(source)


def test_a_class_that_is_called_void(tmp_path, folder):
    report = check_source(ImageMaskFolder(tmp_path, class_names=["void", "road"]))
    assert report.pixels == {"void": 96, "road": 4, "void (255)": 2}


def test_masks_of_0_and_255(tmp_path, folder):
    for number in range(4):
        write_array(
            tmp_path / "masks" / f"p{number}.png", np.full(folder[number]["mask"].shape, 255, np.uint8)
        )
    with pytest.raises(ValueError, match="nothing but 0 and 255"):
        check_source(folder)
    assert report_source(folder).only_zero_and_void
    assert not report_source(ImageMaskFolder(tmp_path, class_names=["field"])).only_zero_and_void


def test_a_source_without_names():
    class Masks:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return {"image": None, "mask": np.full((2, 2), index, np.uint8)}

    pixels = check_source(Masks()).pixels
    assert (pixels["0"], pixels["1"], len(pixels)) == (4, 4, 256)
    assert "2 images, 255 classes" in format_report(check_source(Masks()))
