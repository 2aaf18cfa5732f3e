import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxvision.ops import cutmix, mixup, one_hot

FUNCTIONS = {
    "mixup": jax.jit(mixup, static_argnames="alpha"),
    "cutmix": jax.jit(cutmix, static_argnames="alpha"),
}
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 9, 13, 3)).astype(np.float32)
TARGETS = np.eye(4, 6, dtype=np.float32)  # another class for each image, so that a row tells its share
both = pytest.mark.parametrize("name", FUNCTIONS)


def mix(name: str, seed: int, *, alpha: float = 1.0, images=IMAGES, targets=TARGETS):
    key = jax.random.key(seed)
    mixed, probabilities = FUNCTIONS[name](key, jnp.asarray(images), jnp.asarray(targets), alpha=alpha)
    return np.asarray(mixed), np.asarray(probabilities)


@both
def test_targets_are_mixed_with_those_of_the_reversed_batch(name: str) -> None:
    for seed in range(5):
        _, targets = mix(name, seed)
        share = targets[0, 0]
        assert 0 <= share <= 1
        np.testing.assert_allclose(targets, share * TARGETS + (1 - share) * TARGETS[::-1], atol=1e-6)
        np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)


def test_mixup_blends_by_the_share_of_the_targets() -> None:
    for seed in range(5):
        images, targets = mix("mixup", seed)
        share = targets[0, 0]
        np.testing.assert_allclose(images, share * IMAGES + (1 - share) * IMAGES[::-1], atol=1e-6)


def test_cutmix_pastes_one_box_whose_area_is_the_share() -> None:
    cut_off = 0
    for seed in range(60):
        images, targets = mix("cutmix", seed)
        pasted = (images != IMAGES).all(-1)  # [N, H, W]
        assert (pasted == pasted[:1]).all()
        box = pasted[0]
        rows, columns = box.any(1), box.any(0)
        np.testing.assert_array_equal(box, rows[:, None] & columns[None, :])
        for side in (rows, columns):
            assert np.count_nonzero(np.diff(side.astype(int))) <= 2  # one piece
        wanted = np.where(box[..., None], IMAGES[::-1], IMAGES)
        np.testing.assert_array_equal(images, wanted)
        np.testing.assert_allclose(targets[0, 0], 1 - box.mean(), rtol=1e-6)
        cut_off += box.any() and bool(rows[[0, -1]].any() or columns[[0, -1]].any())
    assert cut_off > 20  # boxes reach over the edge, and are cut off there


def test_cutmix_of_a_clip_takes_one_box_for_all_frames() -> None:
    clips = RNG.random((4, 3, 9, 13, 2)).astype(np.float32)
    images, targets = mix("cutmix", 2, images=clips)
    pasted = (images != clips).all(-1)  # [N, T, H, W]
    assert (pasted == pasted[:1, :1]).all()
    assert 0 < pasted[0, 0].mean() < 1
    np.testing.assert_allclose(targets[0, 0], 1 - pasted[0, 0].mean(), rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    keys = jax.random.split(jax.random.key(1), 2000)
    pair = jnp.zeros((2, 1)), jnp.eye(2)
    shares = jax.vmap(lambda key: mixup(key, *pair, alpha=alpha)[1][0, 0])(keys)
    assert scipy.stats.kstest(np.asarray(shares), scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


def drawn_boxes(alpha: float, height: int, width: int, count: int) -> np.ndarray:
    """Height, width, top and left of boxes, restated from torchvision's CutMix: [count, 4]."""
    rng = np.random.default_rng(5)
    boxes = []
    for _ in range(count):
        side = np.sqrt(1 - rng.beta(alpha, alpha))
        spans = []
        for length in (height, width):
            half, centre = int(0.5 * side * length), rng.integers(length)
            spans.append((max(centre - half, 0), min(centre + half, length)))
        (top, bottom), (left, right) = spans
        boxes.append((bottom - top, right - left, top, left))
    return np.array(boxes)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_boxes_are_distributed_as_those_of_the_oracle(alpha: float) -> None:
    height, width = 31, 43
    keys = jax.random.split(jax.random.key(1), 1000)
    pair = jnp.stack([jnp.zeros((height, width, 1)), jnp.ones((height, width, 1))]), jnp.eye(2)
    pasted = np.asarray(jax.vmap(lambda key: cutmix(key, *pair, alpha=alpha)[0][0, ..., 0])(keys)) > 0
    rows, columns = pasted.any(2), pasted.any(1)
    ours = np.stack([rows.sum(1), columns.sum(1), rows.argmax(1), columns.argmax(1)], -1)
    theirs = drawn_boxes(alpha, height, width, 1000)
    ours, theirs = (boxes[boxes[:, 0] * boxes[:, 1] > 0] for boxes in (ours, theirs))
    assert abs(len(ours) - len(theirs)) < 60
    for column in range(4):
        assert scipy.stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 0.01


@both
def test_alpha_zero_changes_nothing(name: str) -> None:
    images, targets = mix(name, 0, alpha=0.0)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(targets, TARGETS)


@both
@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_images(name: str, count: int) -> None:
    images, targets = mix(name, 3, images=IMAGES[:count], targets=TARGETS[:count])
    assert images.shape == (count, 9, 13, 3)
    if count:  # the one in the middle is its own partner
        np.testing.assert_allclose(images[count // 2], IMAGES[count // 2], rtol=1e-6)
        np.testing.assert_allclose(targets[count // 2], TARGETS[count // 2], rtol=1e-6)


@both
def test_dtypes_stay(name: str) -> None:
    mixed, targets = FUNCTIONS[name](
        jax.random.key(0), jnp.asarray(IMAGES, jnp.bfloat16), jnp.asarray(TARGETS), alpha=1.0
    )
    assert mixed.dtype == jnp.bfloat16
    assert targets.dtype == jnp.float32


@both
def test_bad_input_is_named(name: str) -> None:
    function, key = {"mixup": mixup, "cutmix": cutmix}[name], jax.random.key(0)
    images, targets = jnp.asarray(IMAGES), jnp.asarray(TARGETS)
    with pytest.raises(ValueError, match="alpha: expected 0 or more, got -1"):
        function(key, images, targets, alpha=-1.0)
    with pytest.raises(ValueError, match="targets: expected a floating dtype"):
        function(key, images, jnp.arange(4), alpha=1.0)
    with pytest.raises(ValueError, match=r"targets: expected \[4, K\], got \[3, 6\]; one_hot"):
        function(key, images, targets[:3], alpha=1.0)
    with pytest.raises(ValueError, match="images: expected a floating dtype"):
        function(key, jnp.zeros((4, 9, 13, 3), jnp.uint8), targets, alpha=1.0)
    with pytest.raises(
        ValueError, match=r"images: expected \[N, H, W, C\] or \[N, T, H, W, C\], got \[4, 9\]"
    ):
        cutmix(key, images[:, :, 0, 0], targets, alpha=1.0)


@pytest.mark.parity
@both
def test_equals_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images the partner is the other one on both sides; torchvision gets the numbers drawn here."""
    torch = pytest.importorskip("torch")
    from torchvision.transforms import v2

    for seed in range(20):
        images, labels = IMAGES[:2], np.array([0, 1])
        targets = np.asarray(one_hot(jnp.asarray(labels), 6))
        mixed, probabilities = mix(name, seed, images=images, targets=targets)
        share = probabilities[0, 0]
        share_key, *place_keys = jax.random.split(jax.random.key(seed), 3)
        y, x = (
            int(jax.random.randint(key, (), 0, side)) for key, side in zip(place_keys, (9, 13), strict=True)
        )
        if name == "cutmix":
            share = float(jax.random.beta(share_key, 1.0, 1.0))
        theirs = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[name](num_classes=6)
        monkeypatch.setattr(theirs._dist, "sample", lambda shape, share=share: torch.tensor(float(share)))
        draws = iter([x, y])
        monkeypatch.setattr(torch, "randint", lambda *a, draws=draws, **k: torch.tensor([next(draws)]))
        batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
        expected, expected_targets = theirs(*batch)
        np.testing.assert_allclose(mixed, expected.numpy().transpose(0, 2, 3, 1), atol=1e-6)
        np.testing.assert_allclose(probabilities, expected_targets.numpy(), atol=1e-6)
