import numpy as np
import pytest
import scipy.ndimage

from jaxvision.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColourJitter,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomScale,
    Resize,
    channel_statistics,
    compose,
)


def make_record(height: int = 12, width: int = 16, seed: int = 0) -> dict:
    """A mask made from the image, so that whether they moved together can be seen."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": image, "mask": image[..., 0] // 32, "name": "a", "boxes": np.zeros((1, 4), np.float32)}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_together(record: dict) -> None:
    np.testing.assert_array_equal(record["image"][..., 0] // 32, record["mask"])


GEOMETRIC = [Resize((24, 32)), RandomHorizontalFlip(), RandomScale(), RandomCrop((8, 8))]


@pytest.mark.parametrize(
    "transform", [*GEOMETRIC, ColourJitter(), Normalize(), compose(*GEOMETRIC, Normalize())]
)
def test_equal_generators_give_equal_results_and_inputs_stay(transform):
    record = make_record()
    before = record["image"].copy()
    first, second = transform(record, rng(5)), transform(record, rng(5))
    np.testing.assert_array_equal(first["image"], second["image"])
    np.testing.assert_array_equal(first["mask"], second["mask"])
    np.testing.assert_array_equal(record["image"], before)
    assert first["name"] == "a"


@pytest.mark.parametrize("transform", GEOMETRIC)
def test_geometric_transforms_drop_what_no_longer_fits(transform):
    assert set(transform(make_record(), rng())) == {"image", "mask", "name"}


@pytest.mark.parametrize("transform", [*GEOMETRIC, ColourJitter(), Normalize()])
def test_labels_survive(transform):
    for seed in range(4):
        record = {"image": make_record()["image"], "label": np.int32(7), "name": "a"}
        changed = transform(record, rng(seed))
        assert (changed["label"], changed["name"]) == (7, "a")


@pytest.mark.parametrize("transform", [*GEOMETRIC, ColourJitter(), Normalize()])
def test_an_image_without_a_mask_passes(transform):
    assert "mask" not in transform({"image": make_record()["image"]}, rng())


def test_resize_masks_by_nearest_neighbour():
    resized = Resize((24, 32))(make_record(), rng())
    assert resized["image"].shape == (24, 32, 3)
    np.testing.assert_array_equal(resized["mask"], make_record()["mask"].repeat(2, 0).repeat(2, 1))


def test_resize_upwards_is_bilinear_between_pixel_centres():
    ramp = np.broadcast_to(np.array([0, 100], np.uint8)[None, :, None], (2, 2, 3)).copy()
    resized = Resize((2, 4))({"image": ramp}, rng())["image"]
    assert resized[0, :, 0].tolist() == [0, 25, 75, 100]


def test_resize_downwards_is_antialiased():
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    resized = Resize((16, 16))({"image": np.stack([checks] * 3, -1)}, rng())["image"]
    assert np.abs(resized[2:-2, 2:-2].astype(int) - 127).max() <= 4


def test_flip_mirrors_both_with_its_probability():
    record = make_record()
    always = RandomHorizontalFlip(probability=1.0)(record, rng())
    np.testing.assert_array_equal(always["image"], record["image"][:, ::-1])
    np.testing.assert_array_equal(always["mask"], record["mask"][:, ::-1])
    never = RandomHorizontalFlip(probability=0.0)(record, rng())
    np.testing.assert_array_equal(never["image"], record["image"])
    generator = rng(1)
    flips = [
        (RandomHorizontalFlip()(record, generator)["image"] != record["image"]).any() for _ in range(400)
    ]
    assert 150 < sum(flips) < 250


def test_scale_draws_sizes_over_its_range():
    record = make_record(100, 200)
    sizes = [RandomScale(least=0.5, greatest=1.5)(record, rng(seed))["mask"].shape for seed in range(100)]
    heights = np.array([height for height, _ in sizes])
    assert 50 <= heights.min() < 60
    assert 140 < heights.max() <= 150
    assert all(abs(width - 2 * height) <= 1 for height, width in sizes)


def test_crop_takes_every_window_and_moves_image_and_mask_together():
    record = make_record(9, 11)
    corners = set()
    for seed in range(400):
        cropped = RandomCrop((7, 9))(record, rng(seed))
        assert cropped["mask"].shape == (7, 9)
        assert_together(cropped)
        places = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.array_equal(record["image"][y : y + 7, x : x + 9], cropped["image"])
        ]
        assert len(places) == 1
        corners.update(places)
    assert corners == {(y, x) for y in range(3) for x in range(3)}


@pytest.mark.parametrize("size", [(12, 16), (20, 30), (20, 8), (8, 30)])
def test_crop_pads_with_mean_and_void(size):
    record = make_record()
    for seed in range(20):
        cropped = RandomCrop(size, fill=(1, 2, 3))(record, rng(seed))
        void = cropped["mask"] == 255
        assert void.sum() == size[0] * size[1] - min(size[0], 12) * min(size[1], 16)
        assert (cropped["image"][void] == [1, 2, 3]).all()
        np.testing.assert_array_equal(cropped["image"][~void][:, 0] // 32, cropped["mask"][~void])
    default = RandomCrop((30, 30))(record, rng())
    filled = Normalize()(default, rng())["image"][default["mask"] == 255]
    assert np.abs(filled).max() < 0.02


def test_colour_jitter_of_zero_changes_nothing_and_never_touches_the_mask():
    record = make_record()
    still = ColourJitter(brightness=0, contrast=0, saturation=0)(record, rng())
    np.testing.assert_array_equal(still["image"], record["image"])
    strong = ColourJitter(brightness=0.9, contrast=0.9, saturation=0.9)(record, rng())
    assert strong["mask"] is record["mask"]
    assert (strong["image"] != record["image"]).any()


def test_colour_jitter_by_hand():
    image = np.array([[[100, 50, 200], [20, 40, 60]]], np.uint8)
    for seed in range(10):
        # The three factors are drawn in the order of their names.
        brightness, contrast, saturation = (rng(seed).uniform(0.5, 1.5, 3)).tolist()
        jitter = ColourJitter(brightness=0.5, contrast=0.5, saturation=0.5)
        got = jitter({"image": image}, rng(seed))["image"]
        luma = np.array([0.299, 0.587, 0.114])
        wanted = image * brightness
        wanted = (wanted @ luma).mean() * (1 - contrast) + contrast * wanted
        wanted = (wanted @ luma)[..., None] * (1 - saturation) + saturation * wanted
        assert np.abs(got - np.clip(wanted, 0, 255)).max() <= 0.51


def test_normalize_by_hand():
    record = make_record()
    got = Normalize()(record, rng())["image"]
    assert got.dtype == np.float32
    wanted = (record["image"] / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_a_second_normalize_is_refused():
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\], got float32 .* put Normalize last"):
        compose(Normalize(), Normalize())(make_record(), rng())


def test_grey_images_are_refused():
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\], got uint8 \[4, 4\]"):
        Resize((2, 2))({"image": np.zeros((4, 4), np.uint8)}, rng())


def test_channel_statistics_match_numpy_and_ndimage():
    records = [make_record(seed=seed) for seed in range(5)]
    mean, std = channel_statistics(records)
    pixels = np.concatenate([record["image"].reshape(-1, 3) for record in records]) / 255
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        std, [scipy.ndimage.standard_deviation(pixels[:, c]) for c in range(3)], rtol=1e-9
    )


def test_channel_statistics_limit_reads_evenly_spread_records():
    records = [{"image": np.full((2, 2, 3), value, np.uint8)} for value in (0, 255, 51, 255)]
    mean, _ = channel_statistics(records, limit=2)
    np.testing.assert_allclose(mean, [0.1] * 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomScale(least=0.0), "expected 0 < least <= greatest"),
        (lambda: RandomScale(least=2.0, greatest=1.0), "expected 0 < least <= greatest"),
        (lambda: ColourJitter(contrast=1.5), "expected all three in 0..1"),
        (lambda: Normalize(std=(1.0, 0.0, 1.0)), "expected positive numbers"),
        (lambda: Resize((0, 4))(make_record(), rng()), "expected a positive height and width"),
        (lambda: channel_statistics([]), "expected at least 1"),
        (lambda: channel_statistics([make_record()], limit=0), "expected at least 1"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
