import numpy as np
import pytest

from jaxvision.data import (
    CenterCrop,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    ResizeShorterSide,
    compose,
    eval_transform,
)
from jaxvision.weights import Preprocessing


def make_record(height: int = 12, width: int = 16) -> dict:
    """A mask made from the image, so that whether they moved together can be seen."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": image, "mask": image[..., 0] // 32, "label": np.int32(3), "name": "a", "boxes": 0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


TRANSFORMS = [
    RandomCrop((5, 6), padding=2),
    CenterCrop((5, 20)),
    ResizeShorterSide(9),
    RandomResizedCrop((7, 8)),
]
each = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)


@each
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (12, 16)])
def test_any_size_and_what_is_kept(transform, size):
    for seed in range(10):
        record = make_record(*size)
        before = record["image"].copy()
        changed = transform(record, rng(seed))
        assert set(changed) == {"image", "mask", "label", "name"}
        assert (changed["label"], changed["name"]) == (3, "a")
        assert changed["image"].dtype == changed["mask"].dtype == np.uint8
        assert changed["image"].shape == (*changed["mask"].shape, 3)
        if not isinstance(transform, ResizeShorterSide):
            assert changed["mask"].shape == transform.size
        np.testing.assert_array_equal(record["image"], before)
        again = transform(record, rng(seed))
        np.testing.assert_array_equal(changed["image"], again["image"])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((30, 20), (13, 9)), ((20, 30), (9, 13)), ((20, 20), (9, 9)), ((1, 3), (9, 27)), ((100, 99), (9, 9))],
)
def test_the_shorter_side_is_given_and_the_longer_rounded_down(size, expected):
    assert ResizeShorterSide(9)(make_record(*size), rng())["mask"].shape == expected


def test_interpolation_is_of_the_image_alone():
    record = make_record()
    results = [
        ResizeShorterSide(24, interpolation=name)(record, rng())
        for name in ("nearest", "bilinear", "bicubic")
    ]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (results[first]["image"] != results[second]["image"]).any()
    np.testing.assert_array_equal(results[0]["image"], record["image"].repeat(2, 0).repeat(2, 1))
    for result in results:
        np.testing.assert_array_equal(result["mask"], record["mask"].repeat(2, 0).repeat(2, 1))


def test_center_crop_by_hand():
    record = make_record(6, 9)
    inside = CenterCrop((4, 3))(record, rng())
    np.testing.assert_array_equal(inside["image"], record["image"][1:5, 3:6])
    np.testing.assert_array_equal(inside["mask"], record["mask"][1:5, 3:6])
    around = CenterCrop((9, 9), fill=(1, 2, 3))(record, rng())
    np.testing.assert_array_equal(around["image"][1:7], record["image"])
    assert (around["image"][[0, 7, 8]] == [1, 2, 3]).all()
    assert (around["mask"][[0, 7, 8]] == 255).all()


def test_padded_crops_take_every_window():
    record = make_record(3, 4)
    framed = np.full((7, 8, 3), (1, 2, 3), np.uint8)
    framed[2:5, 2:6] = record["image"]
    seen = set()
    for seed in range(400):
        crop = RandomCrop((5, 5), padding=2, fill=(1, 2, 3))(record, rng(seed))
        places = [
            (y, x)
            for y in range(3)
            for x in range(4)
            if np.array_equal(framed[y : y + 5, x : x + 5], crop["image"])
        ]
        assert len(places) == 1
        np.testing.assert_array_equal(crop["mask"] == 255, (crop["image"] == [1, 2, 3]).all(-1))
        seen.update(places)
    assert len(seen) == 12


def test_a_window_may_miss_the_image():
    crops = [
        RandomCrop((2, 2), padding=6, fill=(1, 2, 3))(make_record(1, 1), rng(seed)) for seed in range(40)
    ]
    hits = [(crop["mask"] != 255).sum() for crop in crops]
    assert set(hits) == {0, 1}


def test_random_parts_stay_inside_and_reach_everywhere():
    crop = RandomResizedCrop((8, 8))
    shares, ratios, covered = [], [], np.zeros((60, 80), bool)
    generator = rng()
    for _ in range(500):
        top, left, height, width = crop.draw(60, 80, generator)
        assert 0 <= top <= top + height <= 60
        assert 0 <= left <= left + width <= 80
        covered[top : top + height, left : left + width] = True
        shares.append(height * width / 4800)
        ratios.append(width / height)
    assert covered.all()
    assert min(shares) > 0.07
    assert max(shares) > 0.9
    assert 0.7 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.4


@pytest.mark.parametrize(
    ("size", "part"),
    [
        ((4, 400), (0, 197, 4, 5)),
        ((400, 4), (197, 0, 5, 4)),
        ((1, 1), (0, 0, 1, 1)),
        ((1, 300), (0, 149, 1, 1)),
    ],
)
def test_what_fits_no_proportion_gives_its_middle(size, part):
    assert RandomResizedCrop((8, 8), scale=(0.9, 1.0)).draw(*size, rng()) == part


def test_a_line_is_refused_before_it_fills_the_memory():
    record = {"image": np.zeros((1, 20_000, 3), np.uint8)}
    with pytest.raises(ValueError, match="an image of 1 x 20000 would be resized to 256 x 5120000 pixels"):
        ResizeShorterSide(256)(record, rng())


def test_the_whole_image_resized():
    record = make_record(12, 12)
    whole = RandomResizedCrop((24, 24), scale=(1, 1), ratio=(1, 1), interpolation="nearest")(record, rng())
    np.testing.assert_array_equal(whole["image"], record["image"].repeat(2, 0).repeat(2, 1))


def test_published_preprocessing_in_words():
    preprocessing = Preprocessing(size=(6, 5), resize=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    got = eval_transform(preprocessing)(make_record(), rng())
    assert (got["label"], got["name"]) == (3, "a")
    cropped = compose(ResizeShorterSide(8), CenterCrop((6, 5)))(make_record(), rng())["image"]
    wanted = (cropped / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    np.testing.assert_allclose(got["image"], wanted, atol=1e-5)
    squashed = eval_transform(preprocessing._replace(resize=(8, 9)))(make_record(), rng())["image"]
    cropped = compose(Resize((8, 9)), CenterCrop((6, 5)))(make_record(), rng())["image"]
    wanted = (cropped / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    np.testing.assert_allclose(squashed, wanted, atol=1e-5)


def test_one_colour_stays_one_colour_through_it_all():
    record = {"image": np.full((37, 61, 3), (10, 100, 200), np.uint8)}
    for name in ("nearest", "bilinear", "bicubic"):
        preprocessing = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), interpolation=name)
        image = eval_transform(preprocessing)(record, rng())["image"]
        assert image.shape == (224, 224, 3)
        np.testing.assert_allclose(image[[0, 100, -1], [0, 7, -1]] * 255, [[10, 100, 200]] * 3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop((0, 4)), r"RandomCrop: got size \(0, 4\), expected a positive"),
        (lambda: RandomCrop((4, 4), padding=-1), "RandomCrop: got padding -1"),
        (lambda: CenterCrop((4,)), r"CenterCrop: got size \(4,\)"),
        (lambda: Resize((0, 4)), r"Resize: got size \(0, 4\)"),
        (lambda: Resize((4, 4), interpolation="lanczos"), "Resize: got interpolation 'lanczos'"),
        (lambda: ResizeShorterSide(0), "ResizeShorterSide: got size 0"),
        (lambda: ResizeShorterSide(4, interpolation="lanczos"), "'lanczos', expected one of 'nearest'"),
        (lambda: RandomResizedCrop((0, 1)), "RandomResizedCrop: got size"),
        (lambda: RandomResizedCrop((4, 4), interpolation=""), "RandomResizedCrop: got interpolation"),
        (lambda: RandomResizedCrop((4, 4), scale=(0.5, 0.2)), r"got scale \(0.5, 0.2\), expected 0 <= least"),
        (lambda: RandomResizedCrop((4, 4), scale=(0, 1.2)), "RandomResizedCrop: got scale"),
        (lambda: RandomResizedCrop((4, 4), ratio=(0, 1)), r"got ratio \(0, 1\), expected 0 < least"),
        (lambda: eval_transform(Preprocessing(frames=8)), r"got inputs of shape \[8, 224, 224, 3\]"),
        (lambda: eval_transform(Preprocessing(mean=(0.5,), std=(0.5,))), r"shape \[224, 224, 1\]"),
        (lambda: eval_transform(Preprocessing(antialias=False)), "expected antialiasing.*antialias=False"),
        (lambda: eval_transform(Preprocessing(channel_order="bgr")), "in the order rgb"),
        (
            lambda: CenterCrop((4, 4))({"image": np.zeros((0, 3, 3), np.uint8)}, rng()),
            r"image: expected uint8 \[H, W, 3\], got uint8 \[0, 3, 3\]",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
