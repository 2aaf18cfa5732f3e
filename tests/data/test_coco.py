import json
import os
import pickle

import numpy as np
import pytest
from oracles.annotation_files import coco, panoptic_png, write_array, write_coco, write_json, write_panoptic
from PIL import Image

from jaxvision.data import CocoAnnotations, CocoPanoptic, check_source

SQUARE = [2, 3, 10, 3, 10, 9, 2, 9]  # columns 2..9, rows 3..8


def annotation(category, segmentation, **more):
    return {
        "id": 5,
        "image_id": 7,
        "category_id": category,
        "iscrowd": 0,
        "segmentation": segmentation,
        **more,
    }


def runs(left, top, right, bottom, size=(24, 32)):
    """Uncompressed runs of a rectangle: columns left..right-1, rows top..bottom-1."""
    height, width = size
    counts = [left * height + top]
    for _ in range(right - left - 1):
        counts += [bottom - top, height - (bottom - top)]
    counts += [bottom - top, (width - right) * height + height - bottom]
    return {"size": [height, width], "counts": counts}


def opened(root, *annotations, **options):
    path = write_coco(root, coco(annotations=list(annotations)))
    return CocoAnnotations(root / "val2017", path, **options)


def test_polygons_and_the_background(tmp_path):
    folder = opened(tmp_path, annotation(90, [SQUARE]))
    assert folder.class_names == ("background", "car", "brush")  # by category id, without gaps
    assert folder.names == ("one",)
    record = folder[0]
    expected = np.zeros((24, 32), np.uint8)
    expected[3:9, 2:10] = 2
    np.testing.assert_array_equal(record["mask"], expected)
    assert record["image"].shape == (24, 32, 3)
    again = pickle.loads(pickle.dumps(folder))
    np.testing.assert_array_equal(again[0]["mask"], expected)


def test_runs_and_packed_runs(tmp_path):
    folder = opened(tmp_path, annotation(3, runs(2, 3, 10, 9)))
    expected = np.zeros((24, 32), np.uint8)
    expected[3:9, 2:10] = 1
    np.testing.assert_array_equal(folder[0]["mask"], expected)
    packed = {"size": [24, 32], "counts": _packed(runs(2, 3, 10, 9)["counts"])}
    np.testing.assert_array_equal(opened(tmp_path, annotation(3, packed))[0]["mask"], expected)


def _packed(counts):
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def test_several_polygons_are_one_region(tmp_path):
    mask = opened(tmp_path, annotation(3, [SQUARE, [20, 3, 30, 3, 30, 9, 20, 9]]))[0]["mask"]
    assert (mask[3:9, 2:10] == 1).all()
    assert (mask[3:9, 20:30] == 1).all()
    assert mask.sum() == 48 + 60


def test_overlaps_and_crowds_are_void(tmp_path):
    mask = opened(
        tmp_path,
        annotation(3, [SQUARE]),
        annotation(90, runs(6, 3, 14, 9)),
        annotation(3, runs(12, 3, 20, 9), iscrowd=1),
        annotation(90, runs(13, 3, 16, 9)),
        annotation(3, runs(2, 3, 4, 9)),
    )[0]["mask"]
    assert mask[5].tolist() == [0, 0, *[1] * 4, *[255] * 4, *[2] * 6, *[255] * 4, *[0] * 12]


def test_without_background(tmp_path):
    content = coco(annotations=[annotation(3, [SQUARE])])
    content["images"].append({"id": 8, "file_name": "two.jpg"})
    path = write_coco(tmp_path, content)
    folder = CocoAnnotations(tmp_path / "val2017", path, background=None)
    assert folder.class_names == ("car", "brush")
    assert folder.names == ("one",)
    assert np.unique(folder[0]["mask"]).tolist() == [0, 255]
    whole = CocoAnnotations(tmp_path / "val2017", path)
    assert whole.names == ("one", "two")
    assert not whole[1]["mask"].any()


def test_names_beyond_ascii_and_lists_in_any_order(tmp_path):
    content = coco(
        images=[{"id": 7, "file_name": "größe.jpg", "height": 24, "width": 32}],
        categories=[{"id": 3, "name": "Straße"}, {"id": 90, "name": "日本"}],
    )
    content = {key: content[key] for key in ("annotations", "categories", "info", "images")}
    path = write_coco(tmp_path, content)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    folder = CocoAnnotations(tmp_path / "val2017", path)
    assert folder.class_names == ("background", "Straße", "日本")
    assert folder.names == ("größe",)
    assert folder[0]["mask"][5, 5] == 2


def test_pictures_in_folders(tmp_path):
    content = coco(
        images=[
            {"id": 1, "file_name": "a/x.jpg"},
            {"id": 2, "file_name": "b/x.jpg"},
            {"id": 7, "file_name": "b/y.jpg"},
        ]
    )
    path = write_coco(tmp_path, content)
    assert CocoAnnotations(tmp_path / "val2017", path).names == ("a_x", "b_x", "y")
    os.rename(tmp_path / "val2017" / "b" / "y.jpg", tmp_path / "val2017" / "y.jpg")
    os.rename(tmp_path / "val2017" / "b" / "x.jpg", tmp_path / "val2017" / "x.jpg")
    # A name alone is enough where it is the only one; two of a name would be one picture twice.
    with pytest.raises(ValueError, match=r"1 of 3 images .*\n.*'b/x\.jpg' \(image id 2\): no such picture"):
        CocoAnnotations(tmp_path / "val2017", path)


def broken_at_opening():
    good = coco()
    image, (brush, car) = good["images"][0], good["categories"]
    ann = annotation(3, [SQUARE])
    return [
        ({"images": []}, "images has no entry"),
        ({"categories": []}, "categories has no entry"),
        ({"categories": {}}, "categories: got an object, expected a list"),
        ({"categories": [3]}, r"categories\[0\]: got 3, expected an object"),
        ({"categories": [{"name": "x"}]}, r"categories\[0\]: 'id' is missing"),
        ({"categories": [brush, {"id": 3}]}, r"categories\[1\]: 'name' is missing"),
        ({"categories": [brush, brush]}, r"categories\[1\]: the id 90 was there before"),
        (
            {"categories": [brush, car | {"name": "brush"}]},
            r"categories\[1\]: the name 'brush' was there before",
        ),
        ({"images": [image, image]}, r"images\[1\]: the id 7 was there before"),
        ({"images": [image, image | {"id": 8}]}, r"the images 7 and 8 share the name 'one'"),
        ({"images": [image, {"id": 8}]}, r"images\[1\]: 'file_name' is missing"),
        (
            {"images": [image, {"id": "8", "file_name": "one.jpg"}]},
            r"images\[1\]: id: got '8', expected an integer",
        ),
        ({"images": [image, {"id": 8, "file_name": "\0.jpg"}]}, "no such picture"),
        (
            {"images": [image, {"id": 8, "file_name": "gone.jpg"}]},
            r"'gone\.jpg' \(image id 8\): no such picture",
        ),
        ({"images": [image | {"height": "24"}]}, r"images\[0\]: height: got '24', expected an integer"),
        ({"annotations": [ann, 5]}, r"annotations\[1\]: got 5, expected an object"),
        ({"annotations": [ann, {"category_id": 3}]}, r"annotations\[1\]: 'image_id' is missing"),
        ({"annotations": [ann, {"image_id": 7}]}, r"annotations\[1\]: 'category_id' is missing"),
        (
            {"annotations": [ann, ann | {"category_id": 4}]},
            r"one\.jpg has annotations of category_id 4, which is not",
        ),
        ({"annotations": [ann, ann | {"image_id": 9}]}, "annotations of the image id 9, which is not listed"),
    ]


@pytest.mark.parametrize(("lists", "message"), broken_at_opening())
def test_broken_files_are_named_when_they_are_opened(tmp_path, lists, message):
    path = write_coco(tmp_path, coco())
    write_json(path, coco(**lists))
    with pytest.raises(ValueError, match=message) as caught:
        CocoAnnotations(tmp_path / "val2017", path)
    assert "instances_val2017.json" in str(caught.value)


def test_missing_lists_folders_and_files(tmp_path):
    path = write_coco(tmp_path, coco())
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        CocoAnnotations(tmp_path / "nowhere", path)
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        CocoAnnotations(tmp_path / "val2017", tmp_path / "none.json")
    for key in ("images", "categories", "annotations"):
        write_json(path, {k: v for k, v in coco().items() if k != key})
        with pytest.raises(ValueError, match=rf"instances_val2017\.json: .*no list '{key}'"):
            CocoAnnotations(tmp_path / "val2017", path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"instances_val2017\.json: not the JSON file that was expected"):
        CocoAnnotations(tmp_path / "val2017", path)


def test_skipping_leaves_out_the_images_that_are_broken(tmp_path):
    images = [{"id": i, "file_name": f"p{i}.jpg"} for i in range(5)]
    path = write_coco(tmp_path, coco(images=images))
    annotations = [
        annotation(3, [SQUARE], image_id=0),
        annotation(4, [SQUARE], image_id=1),
        {"image_id": 2},
        annotation(3, [SQUARE], image_id=2),
        annotation(3, [SQUARE], image_id=9),
    ]
    write_json(path, coco(images=images, annotations=annotations))
    os.remove(tmp_path / "val2017" / "p3.jpg")
    folder = CocoAnnotations(tmp_path / "val2017", path, skip_broken=True)
    assert folder.names == ("p0", "p4")
    assert len(folder.broken) == 4
    write_json(path, coco(images=images, annotations=annotations[1:2]) | {"images": images[1:2]})
    with pytest.raises(ValueError, match=r"(?s)val2017\.json: no image with annotations.*category_id 4"):
        CocoAnnotations(tmp_path / "val2017", path, skip_broken=True)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither polygons nor runs.*got null, expected an object"),
        ("abc", "neither polygons nor runs.*got 'abc'"),
        ([], "no polygon, expected at least one"),
        ([5], r"\[0\]: got 5, expected a list"),
        ([SQUARE, [1, 2, 3, 4]], r"\[1\]: 4 numbers, expected x and y of at least 3 points"),
        ([[1, 2, 3, 4, 5, 6, 7]], r"\[0\]: 7 numbers"),
        ([[1, 2, 3, 4, 5, "6"]], r"\[0\]\[2\]: got '6', expected a finite number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "got nan, expected a finite number"),
        ([[1, 2, 3, 4, 5, -float("inf")]], "got -inf, expected a finite number"),
        ([[1, 2, 3, 4, 5, 1e300]], "expected a finite number"),
        ([[1, 2, 3, 4, 5, 5000]], r"\(5, 5000\) is far outside of the image of 32x24"),
        ({"size": [24, 32]}, "counts .*got null, expected a list"),
        ({"counts": [768]}, "'size' is missing"),
        ({"size": [32, 24], "counts": [768]}, r"size \[32, 24\], expected \[24, 32\], that of the image"),
        ({"size": [24], "counts": [768]}, r"size \[24\], expected \[24, 32\]"),
        ({"size": "24", "counts": [768]}, "size: got '24', expected a list"),
        ({"size": [24, 32], "counts": [700]}, "runs of 700 pixels in all, expected 768"),
        ({"size": [24, 32], "counts": [769, -1]}, "a run of -1 pixels"),
        ({"size": [24, 32], "counts": [768.0]}, "counts: got 768.0, expected an integer"),
        ({"size": [24, 32], "counts": "PP"}, "end within a count"),
        ({"size": [24, 32], "counts": "1"}, "runs of 1 pixels in all"),
        ({"size": [24, 32], "counts": "1\x7f"}, "in the packed runs"),
    ],
)
def test_broken_regions_are_named_when_they_are_read(tmp_path, segmentation, message):
    folder = opened(tmp_path, annotation(3, [SQUARE]), annotation(3, segmentation))
    place = r"val2017\.json: annotation 1 of one\.jpg \(id 5\): segmentation"
    with pytest.raises(ValueError, match=rf"{place}.*{message}"):
        folder[0]


def test_other_broken_annotations_are_named_when_they_are_read(tmp_path):
    folder = opened(tmp_path, {"image_id": 7, "category_id": 3})
    with pytest.raises(ValueError, match=r"annotation 0 of one\.jpg: 'segmentation' is missing"):
        folder[0]
    for wrong, name in {"no": "'no'", "": "''"}.items():
        folder = opened(tmp_path, annotation(3, [SQUARE], iscrowd=wrong))
        with pytest.raises(ValueError, match=f"iscrowd: got {name}, expected 0 or 1"):
            folder[0]
    Image.new("RGB", (24, 32)).save(tmp_path / "val2017" / "one.jpg")
    with pytest.raises(
        ValueError, match=r"val2017\.json: one\.jpg is listed as 32x24 .* but is 24x32; take the"
    ):
        folder[0]


IDS = np.zeros((24, 32), np.int64)
IDS[:, 8:16] = 70_000
IDS[:, 16:24] = 300
IDS[:, 24:] = 5
SEGMENTS = [
    {"id": 70_000, "category_id": 90},
    {"id": 300, "category_id": 3, "iscrowd": 0},
    {"id": 5, "category_id": 3, "iscrowd": 1},
]


def test_panoptic_segments(tmp_path):
    path = write_panoptic(tmp_path, IDS, SEGMENTS)
    folder = CocoPanoptic(tmp_path / "val2017", path)
    assert folder.class_names == ("car", "brush")
    assert folder[0]["mask"][3].tolist() == [*[255] * 8, *[1] * 8, *[0] * 8, *[255] * 8]
    assert pickle.loads(pickle.dumps(folder))[0]["name"] == "one"
    assert check_source(folder).pixels == {"car": 192, "brush": 192, "void": 384}
    os.rename(path.with_suffix(""), tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="panoptic_val2017: no such folder"):
        CocoPanoptic(tmp_path / "val2017", path)
    moved = CocoPanoptic(tmp_path / "val2017", path, masks=tmp_path / "elsewhere")
    assert moved[0]["mask"][3, 9] == 1


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (None, r"segments_info of one\.png: segments_info: got null, expected a list"),
        ([5], r"segments_info of one\.png: got 5, expected an object"),
        ([{"category_id": 3}], r"segments_info of one\.png: 'id' is missing"),
        ([*SEGMENTS[:2], {"id": 5}], "'category_id' is missing"),
        ([{"id": 5, "category_id": 3, "iscrowd": []}], "iscrowd: got a list of 0, expected 0 or 1"),
        ([*SEGMENTS[:2], {"id": 5, "category_id": 4}], "category_id 4 is not listed, expected one of 3, 90"),
        (SEGMENTS[:2] + SEGMENTS[:1], "the segment 70000 comes twice"),
        ([{"id": 0, "category_id": 3}], "the segment 0 comes twice or is 0"),
        (SEGMENTS[:2], r"one\.png: segments 5 are not in segments_info"),
        ([], r"one\.png: segments 5, 300, 70000 are not in segments_info"),
        ([*SEGMENTS, {"id": 6, "category_id": 3}], r"one\.png: segments 6 of segments_info have no pixel"),
    ],
)
def test_broken_segments_are_named(tmp_path, segments, message):
    folder = CocoPanoptic(tmp_path / "val2017", write_panoptic(tmp_path, IDS, segments))
    with pytest.raises(ValueError, match=message) as caught:
        folder[0]
    assert "panoptic_val2017" in str(caught.value)


def test_broken_panoptic_pngs_are_named(tmp_path):
    path = write_panoptic(tmp_path, IDS, SEGMENTS)
    png = path.with_suffix("") / "one.png"
    folder = CocoPanoptic(tmp_path / "val2017", path)
    write_array(png, panoptic_png(IDS)[:, :31])
    with pytest.raises(ValueError, match=r"one\.png: the mask is 31x24"):
        folder[0]
    png.write_bytes(png.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"one\.png: (damaged|not a picture)"):
        folder[0]
    write_array(png, IDS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"one\.png: a mask with mode I;16, expected colours"):
        folder[0]
    Image.fromarray(panoptic_png(IDS)).save(png, format="JPEG")
    with pytest.raises(ValueError, match=r"one\.png: a mask in JPEG format"):
        folder[0]
    os.remove(png)
    with pytest.raises(
        ValueError, match=r"'one\.png' of one\.jpg: no such file in .*panoptic_val2017; add it"
    ):
        CocoPanoptic(tmp_path / "val2017", path)


def test_panoptic_images_without_or_with_two_annotations(tmp_path):
    path = write_panoptic(tmp_path, IDS, SEGMENTS)
    content = json.loads(path.read_text())
    write_json(path, content | {"annotations": content["annotations"] * 2})
    with pytest.raises(ValueError, match=r"2 annotations of one\.jpg, expected one"):
        CocoPanoptic(tmp_path / "val2017", path)
    write_json(path, content | {"annotations": []})
    with pytest.raises(ValueError, match=r"0 annotations of one\.jpg, expected one"):
        CocoPanoptic(tmp_path / "val2017", path)
    write_json(path, content | {"annotations": [{"image_id": 7}]})
    with pytest.raises(ValueError, match=r"annotations\[0\]: 'file_name' is missing"):
        CocoPanoptic(tmp_path / "val2017", path)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools' own code
def test_regions_against_pycocotools(tmp_path):
    from pycocotools.coco import COCO

    rng = np.random.default_rng()
    annotations = []
    for number in range(30):
        size = (24, 32)
        polygon = rng.uniform(-3, 34, (int(rng.integers(3, 7)), 2)).ravel().tolist()
        blob = runs(*sorted(rng.choice(20, 2, replace=False).tolist()), 25, 22, size) if number % 3 else None
        region = {0: [polygon], 1: blob, 2: blob and blob | {"counts": _packed(blob["counts"])}}[number % 3]
        annotations.append(annotation(3, region, id=number, image_id=number, area=1.0, bbox=[0, 0, 1, 1]))
    images = [{"id": i, "file_name": f"{i:02}.jpg", "height": 24, "width": 32} for i in range(30)]
    path = write_coco(tmp_path, coco(images=images, annotations=annotations))
    folder, reference = CocoAnnotations(tmp_path / "val2017", path), COCO(str(path))
    for index in range(30):
        expected = reference.annToMask(reference.loadAnns(index)[0])
        np.testing.assert_array_equal(folder[index]["mask"], expected)
