import pickle

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jaxvision.data import CheckedMasks, DigitScenes, check_foreground, count_classes
from jaxvision.losses import (
    effective_number_weights,
    inverse_frequency_weights,
    log_frequency_weights,
    median_frequency_weights,
)

MASKS = np.random.default_rng(0).choice([0, 1, 2, 255], (6, 5, 7), p=[0.8, 0.1, 0.02, 0.08]).astype(np.uint8)
SOURCE = [{"mask": mask} for mask in MASKS]


def test_counts_of_a_source() -> None:
    counts, masks = count_classes(SOURCE, 4), MASKS
    for k in range(4):
        holding = [mask for mask in masks if (mask == k).any()]
        assert counts.pixels[k] == (masks == k).sum()
        assert counts.images[k] == len(holding)
        assert counts.image_pixels[k] == sum((mask != 255).sum() for mask in holding)
    assert counts.void == (MASKS == 255).sum()
    assert counts.pixels[3] == counts.image_pixels[3] == counts.images[3] == 0


def test_a_part_is_spread_over_the_source() -> None:
    seen = []
    part = count_classes(SOURCE, 4, limit=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(part.pixels, [(MASKS[::2] == k).sum() for k in range(4)])
    np.testing.assert_array_equal(count_classes(SOURCE, 4, limit=100).pixels, count_classes(SOURCE, 4).pixels)


def test_wrong_labels_are_named_where_they_enter() -> None:
    with pytest.raises(ValueError, match=r"record 0: class index out of range: 1, 2, expected 0\.\.0 or 255"):
        count_classes(SOURCE, 1)
    named = [{"mask": np.full((2, 2), -1, np.int32), "name": "a"}]
    with pytest.raises(ValueError, match="a: class index out of range: -1"):
        count_classes(named, 3)
    with pytest.raises(ValueError, match="expected integer class indices"):
        count_classes([{"mask": np.zeros((2, 2))}], 3)
    with pytest.raises(ValueError, match="at least 1"):
        count_classes([], 3)
    with pytest.raises(ValueError, match="limit 0"):
        count_classes(SOURCE, 3, limit=0)


def test_an_object_saved_as_void_is_noticed() -> None:
    def source(*values: int, num_classes: int = 2) -> CheckedMasks:
        masks = np.array(values, np.uint8).reshape(-1, 1, 1)
        named = _Records([{"mask": mask} for mask in masks])
        named.num_classes, named.class_names = num_classes, tuple("abc"[:num_classes])
        return CheckedMasks(named)

    with pytest.raises(ValueError, match=r"nothing but index 0 and void \(255\), though there are 2 classes"):
        check_foreground(source(0, 255, 0))
    assert check_foreground(source(0, 1, 0))
    assert check_foreground(source(0, 255, num_classes=1))  # void is all that there can be
    assert check_foreground(source(255, 0, 0, 1), samples=2)  # void, and a rare class
    assert not check_foreground(source(0, 1, 0, 1), samples=2)  # rare, or missing: no sign of a mistake


class _Records(list):
    num_classes: int
    class_names: tuple[str, ...]


class _Scenes:
    num_classes = 2
    class_names = ("a", "b")

    def __len__(self) -> int:
        return len(SOURCE)

    def __getitem__(self, index: int) -> dict:
        return {"mask": np.minimum(MASKS[index], 3) if index == 5 else np.minimum(MASKS[index], 1)}


def test_a_checked_source_raises_at_the_record() -> None:
    checked = pickle.loads(pickle.dumps(CheckedMasks(_Scenes())))  # as it goes to a worker process
    assert (len(checked), checked.num_classes, checked.class_names) == (6, 2, ("a", "b"))
    assert checked[4]["mask"].max() == 1
    with pytest.raises(ValueError, match="record 5: class index out of range"):
        checked[5]
    scenes = DigitScenes("test", size=(32, 32), num_scenes=1)
    np.testing.assert_array_equal(CheckedMasks(scenes)[0]["mask"], scenes[0]["mask"])


def test_median_frequency_by_hand() -> None:
    # Class 0 is in both images of 100 pixels, 1 in one, 2 in both.
    weights = median_frequency_weights(np.array([150, 20, 30]), np.array([200, 100, 200]))
    frequencies = np.array([150 / 200, 20 / 100, 30 / 200])
    np.testing.assert_allclose(weights, 0.2 / frequencies)


def test_inverse_frequency_equals_scikit_learn() -> None:
    labels = MASKS[MASKS != 255].astype(int)
    pixels = np.bincount(labels, minlength=3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(inverse_frequency_weights(pixels), expected)
    np.testing.assert_allclose(inverse_frequency_weights(np.append(pixels, 0)), [*expected, 0])


def test_logarithmic_weights_are_bounded() -> None:
    weights = log_frequency_weights(np.array([10**9, 1, 0]))
    np.testing.assert_allclose(weights, [1 / np.log(2.02), 1 / np.log(1.02), 0.0], rtol=1e-6)
    np.testing.assert_allclose(log_frequency_weights(np.array([1, 1]), offset=2.0), 1 / np.log(2.5))


def test_effective_number_between_none_and_inverse() -> None:
    counts = np.array([1000, 100, 10, 0])
    np.testing.assert_allclose(effective_number_weights(counts, beta=0.0), [1, 1, 1, 0])
    inverse = 1 / counts[:3]
    np.testing.assert_allclose(effective_number_weights(counts, beta=1.0)[:3], 3 * inverse / inverse.sum())
    effective = [sum(0.99**i for i in range(n)) for n in counts[:3]]  # a geometric series
    inverse = 1 / np.array(effective)
    np.testing.assert_allclose(effective_number_weights(counts, beta=0.99)[:3], 3 * inverse / inverse.sum())


def test_impossible_counts_raise() -> None:
    for rule in (inverse_frequency_weights, log_frequency_weights, effective_number_weights):
        with pytest.raises(ValueError, match="no class occurs"):
            rule(np.zeros(3, int))
        with pytest.raises(ValueError, match=r"expected \[K\] numbers >= 0"):
            rule(np.array([1, -1]))
    with pytest.raises(ValueError, match="image_pixels"):
        median_frequency_weights(np.array([5, 5]), np.array([5]))
    with pytest.raises(ValueError, match="none below its own"):
        median_frequency_weights(np.array([5, 5]), np.array([4, 9]))
    with pytest.raises(ValueError, match="offset"):
        log_frequency_weights(np.ones(2), offset=1.0)
    with pytest.raises(ValueError, match="beta"):
        effective_number_weights(np.ones(2), beta=1.1)
