"""Segmentation losses restated in torch from their papers, one function a loss, for recording and comparing.

All take channels-last logits and are written the long way: loops over images and classes, void pixels cut
out, nothing shared with the library.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import ndimage

VOID = 255


def _groups(x: Any, labels: Any, over_batch: bool) -> Iterator[tuple[Any, Any]]:
    """Probabilities [P, K] and labels [P] of the pixels that count, of each image or of all."""
    pairs = [(x, labels)] if over_batch else list(zip(x, labels, strict=True))
    for logits, truth in pairs:
        valid = truth.flatten() != VOID
        yield torch.softmax(logits.reshape(-1, x.shape[-1])[valid], 1), truth.flatten()[valid].long()


def _per_class(x: Any, labels: Any, over_batch: bool, formula: Any) -> Any:
    rows = [
        torch.stack([formula(p[:, k], (y == k).float()) for k in range(x.shape[-1])])
        for p, y in _groups(x, labels, over_batch)
    ]
    return rows[0] if over_batch else torch.stack(rows)


def jaccard(x: Any, labels: Any, *, smooth: float = 0.0, over_batch: bool = False) -> Any:
    def formula(p: Any, g: Any) -> Any:
        overlap = (p * g).sum()
        return 1 - (overlap + smooth) / (p.sum() + g.sum() - overlap + smooth)

    return _per_class(x, labels, over_batch, formula)


def tversky(
    x: Any,
    labels: Any,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    exponent: float = 1.0,
    over_batch: bool = False,
) -> Any:
    def formula(p: Any, g: Any) -> Any:
        right, wrong, missed = (p * g).sum(), (p * (1 - g)).sum(), ((1 - p) * g).sum()
        return (1 - (right + smooth) / (right + alpha * wrong + beta * missed + smooth)) ** exponent

    return _per_class(x, labels, over_batch, formula)


def log_cosh_dice(x: Any, labels: Any) -> Any:
    def formula(p: Any, g: Any) -> Any:
        dice = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
        return torch.log((torch.exp(dice) + torch.exp(-dice)) / 2)

    return _per_class(x, labels, False, formula)


def generalised_dice(x: Any, labels: Any, *, power: float = 2.0, over_batch: bool = False) -> Any:
    values = []
    for p, y in _groups(x, labels, over_batch):
        hit = torch.nn.functional.one_hot(y, x.shape[-1]).float()
        volumes = hit.sum(0)
        weights = volumes**-power
        weights[volumes == 0] = weights[volumes > 0].max()
        values.append(1 - 2 * (weights * (p * hit).sum(0)).sum() / (weights * (p.sum(0) + hit.sum(0))).sum())
    return values[0] if over_batch else torch.stack(values)


def jaccard_growth(sorted_truth: Any) -> Any:
    """Differences of the Jaccard loss as ever more of the sorted elements are wrong."""
    total = sorted_truth.sum()
    right = total - sorted_truth.cumsum(0)
    union = total + (1 - sorted_truth).cumsum(0)
    loss = 1 - right / union
    return torch.cat([loss[:1], loss[1:] - loss[:-1]])


def _extension(errors: Any, truth: Any) -> Any:
    falling, order = torch.sort(errors, descending=True, stable=True)
    return torch.dot(falling, jaccard_growth(truth[order].double()).float().detach())


def lovasz_softmax(x: Any, labels: Any, *, over_batch: bool = False) -> Any:
    return _per_class(x, labels, over_batch, lambda p, g: _extension((g - p).abs(), g))


def lovasz_softmax_mean_present(x: Any, labels: Any) -> Any:
    """The authors' default: all images as one, the mean over the classes that occur."""
    losses = lovasz_softmax(x, labels, over_batch=True)
    return losses[torch.unique(labels[labels != VOID]).long()].mean()


def lovasz_hinge(x: Any, truth: Any, *, over_batch: bool = False) -> Any:
    values = []
    for scores, g in [(x, truth)] if over_batch else list(zip(x, truth, strict=True)):
        g = g.flatten().float()
        falling, order = torch.sort(1 - scores.flatten() * (2 * g - 1), descending=True, stable=True)
        growth = jaccard_growth(g[order].double()).float().detach()
        values.append(torch.dot(torch.relu(falling), growth))
    return values[0] if over_batch else torch.stack(values)


def signed_distances(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Kervadec's maps by SciPy: [N, H, W, K]; labels without void."""
    maps = np.zeros((*labels.shape, num_classes), np.float32)
    for n, image in enumerate(labels):
        for k in range(num_classes):
            inside = image == k
            if inside.any() and not inside.all():
                outside = ndimage.distance_transform_edt(~inside)
                maps[n, ..., k] = outside * ~inside - (ndimage.distance_transform_edt(inside) - 1) * inside
    return maps


def boundary(x: Any, labels: Any) -> Any:
    maps = torch.from_numpy(signed_distances(labels.numpy(), x.shape[-1]))
    return torch.softmax(x, -1) * maps


def hard_entropy(x: Any, labels: Any, *, threshold: float, min_kept: int, weights: Any = None) -> Any:
    """Cross entropy of the hard pixels; 0 elsewhere."""
    flat, truth = x.reshape(-1, x.shape[-1]), labels.flatten()
    valid = truth != VOID
    safe = torch.where(valid, truth, 0).long()
    p = torch.softmax(flat.detach(), 1).gather(1, safe[:, None])[:, 0]
    kept = min(min_kept * len(x), int(valid.sum()))
    bound = torch.sort(p[valid]).values[kept - 1] if kept else torch.tensor(-1.0)
    hard = valid & ((p < threshold) | (p <= bound))
    losses = torch.nn.functional.cross_entropy(flat, safe, weight=weights, reduction="none")
    return torch.where(hard, losses, 0.0).reshape(labels.shape)
