import numpy as np
import pytest
from PIL import Image

from jaxvision.data import (
    CsvImages,
    ImageFolder,
    Normalize,
    RandomHorizontalFlip,
    Resize,
    compose,
    eval_batches,
    train_batches,
)

COLOURS = {"ant": (200, 30, 20), "bee": (20, 180, 60), "cat": (10, 40, 220)}


def write_picture(path, colour=(9, 8, 7), size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes, one picture of them deeper down, and things that are no pictures."""
    root = tmp_path / "pictures"
    write_picture(root / "cat" / "2.png", COLOURS["cat"])
    write_picture(root / "cat" / "1.bmp", COLOURS["cat"])
    write_picture(root / "ant" / "deep" / "er" / "x.TIFF", COLOURS["ant"])
    write_picture(root / "bee" / "a.b.png", COLOURS["bee"])
    write_picture(root / "bee" / ".hidden.png")
    write_picture(root / "bee" / ".cache" / "a.png")
    write_picture(root / ".git" / "a.png")
    write_picture(root / "beside.png")
    (root / "bee" / "notes.txt").write_text("no picture")
    (root / "bee" / "png").write_text("no picture either")
    return root


def check_records(source):
    for index in range(len(source)):
        record = source[index]
        assert set(record) == {"image", "label", "name"}
        assert record["label"].dtype == np.int32
        assert record["label"].shape == ()
        assert record["label"] == source.labels[index]
        colour = COLOURS[source.class_names[record["label"]]]
        assert (record["image"] == np.array(colour, np.uint8)).all()


class TestImageFolder:
    def test_classes_pictures_and_names(self, folder):
        source = ImageFolder(folder)
        assert source.class_names == ("ant", "bee", "cat")
        assert source.num_classes == 3
        assert source.labels.dtype == np.int32
        assert source.labels.tolist() == [0, 1, 2, 2]
        names = [source[index]["name"] for index in range(len(source))]
        assert names == ["ant/deep/er/x.TIFF", "bee/a.b.png", "cat/1.bmp", "cat/2.png"]
        check_records(source)

    @pytest.mark.parity
    def test_equals_torchvision(self, folder):
        datasets = pytest.importorskip("torchvision").datasets
        (folder / "bee" / ".hidden.png").unlink()  # torchvision takes hidden files
        (folder / "bee" / ".cache" / "a.png").unlink()
        (folder / ".git" / "a.png").rename(folder / "cat" / "zz.png")
        (folder / ".git").rmdir()
        write_picture(folder / "10" / "a.png")
        write_picture(folder / "2" / "a.png")
        theirs = datasets.ImageFolder(folder)
        ours = ImageFolder(folder)
        assert list(ours.class_names) == theirs.classes
        assert {(str(folder / ours[i]["name"]), int(ours.labels[i])) for i in range(len(ours))} == set(
            theirs.samples
        )

    def test_given_names_fix_the_indices_and_allow_for_a_class_without_folder(self, folder):
        source = ImageFolder(folder, class_names=("cat", "dog", "bee", "ant"))
        assert source.labels.tolist() == [0, 0, 2, 3]
        check_records(source)

    def test_a_linked_folder_is_read(self, folder, tmp_path):
        write_picture(tmp_path / "elsewhere" / "a.png")
        (folder / "dog").symlink_to(tmp_path / "elsewhere")
        assert ImageFolder(folder).class_names == ("ant", "bee", "cat", "dog")

    def test_missing_root(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder"):
            ImageFolder(tmp_path / "nowhere")

    def test_no_class_folder(self, tmp_path):
        write_picture(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"0 class folder \(none\) and 1 pictures beside it"):
            ImageFolder(tmp_path)

    def test_one_class(self, tmp_path):
        write_picture(tmp_path / "ant" / "a.png")
        with pytest.raises(ValueError, match=r"1 class folder \(ant\) and 0 pictures"):
            ImageFolder(tmp_path)
        with pytest.raises(ValueError, match=r"1 class \(ant\), expected at least 2"):
            ImageFolder(tmp_path, class_names=["ant"])

    def test_empty_class(self, folder):
        (folder / "dog").mkdir()
        (folder / "dog" / "a.txt").write_text("woof")
        with pytest.raises(ValueError, match=r"no picture of class dog, expected files ending in \.png"):
            ImageFolder(folder)

    def test_unknown_class(self, folder):
        with pytest.raises(
            ValueError, match=r"ant, bee: no such class, expected folders named like cat, dog"
        ):
            ImageFolder(folder, class_names=("cat", "dog"))

    def test_known_classes_without_any_picture(self, tmp_path):
        with pytest.raises(ValueError, match="no picture in it"):
            ImageFolder(tmp_path, class_names=("cat", "dog"))

    def test_equal_names(self, folder):
        with pytest.raises(ValueError, match="class names given twice: cat"):
            ImageFolder(folder, class_names=("cat", "ant", "bee", "cat"))

    def test_a_damaged_picture_is_named_when_it_is_read(self, folder):
        (folder / "cat" / "1.bmp").write_bytes(b"BM")
        source = ImageFolder(folder)
        with pytest.raises(ValueError, match=r"1\.bmp: (damaged|not a picture)"):
            source[2]


RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
SIXTEEN_BIT = np.random.default_rng(1).integers(0, 65536, (6, 9), dtype=np.uint16)


def save_exif(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: stored lying on its side
    Image.fromarray(np.rot90(RGB).copy()).save(path, exif=exif)


KINDS = {
    "grey": (lambda path: Image.fromarray(RGB[..., 0]).save(path), np.repeat(RGB[..., :1], 3, -1), 0),
    "rgba": (
        lambda path: Image.fromarray(np.concatenate([RGB, RGB[..., :1] // 2], -1)).save(path),
        RGB,
        0,
    ),
    "16 bit": (
        lambda path: Image.fromarray(SIXTEEN_BIT).save(path),
        np.repeat(np.rint(SIXTEEN_BIT / 257)[..., None], 3, -1),
        0,
    ),
    "exif": (save_exif, RGB, 0),
    "cmyk": (
        lambda path: Image.new("CMYK", (9, 6), (55, 195, 235, 0)).save(path, quality=95),
        np.broadcast_to([200, 60, 20], (6, 9, 3)),
        6,
    ),
    "one pixel": (lambda path: Image.fromarray(RGB[:1, :1]).save(path), RGB[:1, :1], 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_becomes_the_right_batch(tmp_path, kind):
    write, expected, tolerance = KINDS[kind]
    write_picture(tmp_path / "ant" / "a.png")
    (tmp_path / "bee").mkdir()
    write(tmp_path / "bee" / ("b.jpg" if kind == "cmyk" else "b.png"))
    source = ImageFolder(tmp_path)
    size = expected.shape[:2]
    transform = compose(Resize(size), RandomHorizontalFlip(probability=1.0), Normalize())
    (batch,) = eval_batches(source, transform, batch_size=2)
    assert batch["labels"].tolist() == [0, 1]
    mean, std = np.array(Normalize().mean), np.array(Normalize().std)
    wanted = (expected[:, ::-1] / 255 - mean) / std
    np.testing.assert_allclose(batch["images"][1], wanted, atol=1e-5 + tolerance / 255 / std.min())


def write_csv(path, *lines, header="image,label"):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


class TestCsvImages:
    LINES = ("cat/2.png,cat", "bee/a.b.png,bee", "ant/deep/er/x.TIFF,ant", "cat/1.bmp,cat")

    def test_names_as_classes(self, folder, tmp_path):
        source = CsvImages(write_csv(tmp_path / "list.csv", *self.LINES), root=folder)
        assert source.class_names == ("ant", "bee", "cat")
        assert source.labels.tolist() == [2, 1, 0, 2]
        assert [source[index]["name"] for index in range(4)] == [line.split(",")[0] for line in self.LINES]
        check_records(source)

    def test_columns_quotes_blank_lines_and_the_mark_of_spreadsheets(self, folder, tmp_path):
        path = tmp_path / "list.csv"
        text = '\ufeffid, class ,"file"\r\n1,cat,"cat\\2.png"\r\n\r\n2, ant ,ant/deep/er/x.TIFF\r\n'
        path.write_text(text, encoding="utf-8", newline="")
        source = CsvImages(path, root=folder, image_column="file", label_column="class")
        assert source.class_names == ("ant", "cat")
        assert source.labels.tolist() == [1, 0]
        check_records(source)

    def test_integers_are_ordered_by_value(self, folder, tmp_path):
        path = write_csv(tmp_path / "a.csv", "cat/2.png,10", "bee/a.b.png,2", "cat/1.bmp,10")
        source = CsvImages(path, root=folder)
        assert source.class_names == ("2", "10")
        assert source.labels.tolist() == [1, 0, 1]

    def test_integers_are_indices_of_given_names(self, folder, tmp_path):
        path = write_csv(tmp_path / "a.csv", "cat/2.png,3", "bee/a.b.png,1", "ant/deep/er/x.TIFF,0")
        source = CsvImages(path, root=folder, class_names=("ant", "bee", "dog", "cat"))
        assert source.labels.tolist() == [3, 1, 0]
        check_records(source)

    def test_names_that_look_like_indices_are_names(self, folder, tmp_path):
        path = write_csv(tmp_path / "a.csv", "cat/2.png,1", "bee/a.b.png,0")
        assert CsvImages(path, root=folder, class_names=("1", "0")).labels.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("lines", "options", "message"),
        [
            ((), {}, "no line below the header"),
            (("cat/2.png,cat", "cat/1.bmp,"), {}, r"line 3: image 'cat/1.bmp' and label '', expected both"),
            (("cat/2.png,cat", "cat/1.bmp"), {}, r"line 3: image 'cat/1.bmp' and label ''"),
            (
                LINES,
                {"label_column": "class"},
                r"line 1: no column 'class', the header holds 'image', 'label'",
            ),
            (
                LINES,
                {"class_names": ("cat", "bee")},
                r"line 4: unknown class 'ant', expected one of cat, bee",
            ),
            (
                ("cat/2.png,cat", "bee/a.b.png,0"),
                {"class_names": ("cat", "bee")},
                "line 3: unknown class '0'",
            ),
            (("cat/2.png,2", "bee/a.b.png,0"), {"class_names": ("cat", "bee")}, "line 2: unknown class '2'"),
            (("cat/2.png,cat",), {}, r"1 class \(cat\), expected at least 2"),
            (
                ("cat/2.png,cat", "bee/a.b.png,bee", "cat/2.png,bee"),
                {},
                "line 4: .* of class 'cat' in line 2",
            ),
        ],
    )
    def test_faults_are_named_with_their_line(self, folder, tmp_path, lines, options, message):
        path = write_csv(tmp_path / "list.csv", *lines)
        with pytest.raises(ValueError, match=message):
            CsvImages(path, root=folder, **options)

    def test_missing_files_are_named(self, folder, tmp_path):
        path = write_csv(tmp_path / "list.csv", *self.LINES, "cat/3.png,cat")
        with pytest.raises(FileNotFoundError, match=r"list\.csv, line 6: .*3\.png: no such file"):
            CsvImages(path, root=folder)
        with pytest.raises(FileNotFoundError, match=r"other\.csv: no such file"):
            CsvImages(tmp_path / "other.csv", root=folder)
        with pytest.raises(FileNotFoundError, match=r"other: no such folder"):
            CsvImages(path, root=tmp_path / "other")

    def test_files_that_are_no_csv(self, folder, tmp_path):
        path = tmp_path / "list.csv"
        path.write_bytes(b"image,label\n\xff\xfe,cat\n")
        with pytest.raises(ValueError, match=r"list\.csv: .* expected a CSV file in UTF-8"):
            CsvImages(path, root=folder)
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"line 1: no column 'image' and no column 'label'.*nothing"):
            CsvImages(path, root=folder)


def test_training_batches_hold_the_labels_of_their_pictures(folder):
    source = ImageFolder(folder)
    transform = compose(Resize((4, 4)), Normalize(mean=(0, 0, 0), std=(1, 1, 1)))
    for batch in train_batches(source, transform, batch_size=2, seed=0, num_epochs=3, num_threads=0):
        for image, label in zip(batch["images"], batch["labels"], strict=True):
            np.testing.assert_allclose(image[0, 0] * 255, COLOURS[source.class_names[label]], atol=1e-4)
