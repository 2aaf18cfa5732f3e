import numpy as np
import pytest

from jaxvision.data import (
    OPERATIONS,
    ArrayImages,
    Normalize,
    RandAugment,
    RandomErasing,
    TrivialAugment,
    augment_image,
    compose,
    train_batches,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
POLICIES = [RandAugment(), RandAugment(num_ops=3, magnitude=30), TrivialAugment()]


def make_record(height: int = 12, width: int = 16) -> dict:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": image, "mask": image[..., 0], "label": np.int32(3), "name": "a", "boxes": 0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("transform", POLICIES, ids=["rand", "strong", "trivial"])
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (12, 16)])
def test_any_size_and_what_is_kept(transform, size):
    record = make_record(*size)
    before = record["image"].copy()
    for seed in range(60):
        changed = transform(record, rng(seed))
        assert set(changed) == {"image", "label", "name"}  # a mask would no longer fit
        assert (changed["label"], changed["name"]) == (3, "a")
        assert changed["image"].dtype == np.uint8
        assert changed["image"].shape == (*size, 3)
        np.testing.assert_array_equal(changed["image"], transform(record, rng(seed))["image"])
    np.testing.assert_array_equal(record["image"], before)


def test_operations_by_hand():
    moved = augment_image(IMAGE, "translate_x", 3.9, fill=(1, 2, 3))  # whole pixels, to the right
    np.testing.assert_array_equal(moved[:, 3:], IMAGE[:, :-3])
    assert (moved[:, :3] == [1, 2, 3]).all()
    np.testing.assert_array_equal(augment_image(IMAGE, "translate_y", -2.0)[:-2], IMAGE[2:])
    np.testing.assert_array_equal(augment_image(IMAGE[:12, :12], "rotate", 90.0), np.rot90(IMAGE[:12, :12]))
    np.testing.assert_array_equal(augment_image(IMAGE, "posterize", 3), IMAGE & 0b11100000)
    inverted = np.where(IMAGE >= 100, 255 - IMAGE, IMAGE)
    np.testing.assert_array_equal(augment_image(IMAGE, "solarize", 99.5), inverted)
    darker = augment_image(IMAGE, "brightness", -0.4).astype(int)
    assert np.abs(darker - IMAGE * 0.6).max() <= 1
    grey = augment_image(IMAGE, "colour", -1.0)
    assert (grey == grey[..., :1]).all()
    sheared = augment_image(IMAGE, "shear_x", 1.0)
    # At the centre of the first row, half a pixel down: half a pixel, rounded up; then one more a row.
    np.testing.assert_array_equal([sheared[y, 0] for y in range(5)], [IMAGE[y, y + 1] for y in range(5)])
    np.testing.assert_array_equal(augment_image(IMAGE, "identity", 0.0), IMAGE)


def test_contrast_is_stretched_and_values_are_spread():
    dull = np.tile(IMAGE, (3, 3, 1)) // 4 + 90  # Pillow equalizes nothing below 256 pixels
    stretched = augment_image(dull, "auto_contrast", 0.0)
    assert stretched.min((0, 1)).tolist() == [0, 0, 0]
    assert stretched.max((0, 1)).min() >= 254  # Pillow's table rounds down
    assert np.ptp(dull) < 64
    assert np.ptp(augment_image(dull, "equalize", 0.0)) > 200


def test_magnitude_zero_changes_little_and_num_ops_zero_nothing():
    record = {"image": np.clip(IMAGE, 1, 254)}
    record["image"][0, 0], record["image"][0, 1] = 0, 255  # nothing for auto_contrast to do
    strengths = RandAugment(magnitude=0).strengths(12, 16)
    for operation in set(OPERATIONS) - {"equalize", "solarize"}:
        changed = augment_image(record["image"], operation, strengths.get(operation, 0.0))
        np.testing.assert_array_equal(changed, record["image"], err_msg=operation)
    np.testing.assert_array_equal(RandAugment(num_ops=0)(record, rng())["image"], record["image"])


def test_strengths_of_the_papers_ends():
    strongest = RandAugment(magnitude=30).strengths(331, 662)
    assert strongest["shear_x"] == pytest.approx(0.3)
    assert strongest["translate_y"] == pytest.approx(150)
    assert strongest["translate_x"] == pytest.approx(300)
    assert strongest["rotate"] == 30
    assert strongest["colour"] == pytest.approx(0.9)
    assert strongest["posterize"] == 4
    assert strongest["solarize"] == 0
    wide = TrivialAugment().strengths(30)
    assert (wide["translate_x"], wide["rotate"], wide["posterize"]) == (32, 135, 2)


def test_every_operation_is_chosen(monkeypatch):
    chosen = []

    def spy(image, operation, magnitude, **options):
        chosen.append((operation, np.sign(magnitude)))
        return image

    monkeypatch.setattr("jaxvision.data.augmentations.augment_image", spy)
    generator = rng()
    for _ in range(1000):
        RandAugment(num_ops=2)(make_record(), generator)
    assert len(chosen) == 2000
    counts = {operation: sum(name == operation for name, _ in chosen) for operation in OPERATIONS}
    assert min(counts.values()) > 100  # of 143 expected
    assert max(counts.values()) < 190
    assert {sign for name, sign in chosen if name == "rotate"} == {-1, 1}
    assert {sign for name, sign in chosen if name == "solarize"} == {1}
    chosen.clear()
    for _ in range(1000):
        TrivialAugment()(make_record(), generator)
    assert len(chosen) == 1000
    assert {name for name, _ in chosen} == set(OPERATIONS)


def test_erasing_fills_one_rectangle():
    record = make_record(40, 50)
    erase = RandomErasing(probability=1.0, fill=(1, 2, 3))
    shares = []
    for seed in range(100):
        erased = erase(record, rng(seed))
        assert erased["mask"] is record["mask"]
        assert erased["label"] == 3
        hole = (erased["image"] == [1, 2, 3]).all(-1)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        np.testing.assert_array_equal(erased["image"][~hole], record["image"][~hole])
        shares.append(hole.mean())
        assert 0.25 < len(rows) / len(columns) < 4
    assert 0.015 < min(shares) < 0.06
    assert 0.28 < max(shares) < 0.35
    default = RandomErasing(probability=1.0)(record, rng(1))["image"]
    changed = (default != record["image"]).any(-1)
    normalised = Normalize()({"image": default}, rng())["image"]
    assert np.abs(normalised[changed]).max() < 0.02


def test_erasing_with_noise():
    record = {"image": np.zeros((40, 50, 3), np.uint8)}
    noise = [RandomErasing(probability=1.0, fill=None)(record, rng(seed))["image"] for seed in range(30)]
    values = np.concatenate([image[image.any(-1)].ravel() for image in noise])
    assert 120 < values.mean() < 135
    assert 70 < values.std() < 78  # 255 / sqrt(12) = 73.6


def test_erasing_with_its_probability():
    record = make_record()
    generator = rng()
    hits = sum(
        (RandomErasing(probability=0.25)(record, generator)["image"] != record["image"]).any()
        for _ in range(800)
    )
    assert 150 < hits < 250
    assert RandomErasing(probability=0.0)(record, rng())["image"] is record["image"]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2)])
def test_erasing_small_images(size):
    for seed in range(20):
        image = RandomErasing(probability=1.0)(make_record(*size), rng(seed))["image"]
        assert image.shape == (*size, 3)
        if min(size) == 1:  # a rectangle is smaller than the image on both sides
            np.testing.assert_array_equal(image, make_record(*size)["image"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandAugment(magnitude=31), r"magnitude 31, expected 0 or more operations .* 0\.\.30"),
        (lambda: RandAugment(num_ops=-1), "num_ops -1"),
        (lambda: RandAugment(interpolation="area"), "RandAugment: got interpolation 'area'"),
        (lambda: TrivialAugment(interpolation="area"), "TrivialAugment: got interpolation 'area'"),
        (lambda: RandomErasing(probability=1.5), "RandomErasing: got probability 1.5"),
        (lambda: RandomErasing(scale=(0.0, 0.0)), "RandomErasing: got scale"),
        (lambda: RandomErasing(ratio=(-1.0, 2.0)), "RandomErasing: got ratio"),
        (lambda: augment_image(IMAGE, "blur", 1.0), "operation: got 'blur', expected one of identity"),
        (lambda: RandAugment()({"image": IMAGE / 255}, rng()), "put Normalize last"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_augmented_batches_follow_from_the_seed_in_any_thread():
    source = ArrayImages(np.broadcast_to(IMAGE, (8, *IMAGE.shape)), np.arange(8))
    transform = compose(RandAugment(), RandomErasing(), Normalize())
    first, second = (
        next(train_batches(source, transform, batch_size=8, seed=1, num_threads=threads))
        for threads in (0, 3)
    )
    np.testing.assert_array_equal(first["images"], second["images"])
    assert sorted(first["labels"].tolist()) == list(range(8))
    assert len(np.unique(first["images"].reshape(8, -1), axis=0)) > 5
