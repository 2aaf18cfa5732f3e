"""Polygons and regions on which COCO's code was asked, from a seed."""

from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).parents[1] / "reference" / "coco_regions.npz"


def polygons(count: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """(points [n, 2], size): inside and outside of the image, whole numbers, lines, repeated points."""
    rng = np.random.default_rng(20)
    cases = []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        points = rng.uniform(-8, 48, (int(rng.integers(3, 9)), 2))
        if number % 3 == 0:
            points = np.round(points)
        if number % 5 == 0:
            points[1] = points[0]
        if number % 7 == 0:
            points[:, 0] = points[0, 0]  # a line upright
        cases.append((points, (height, width)))
    return cases


def regions(count: int) -> list[np.ndarray]:
    """bool [H, W]: noise, empty, full, and large blocks, whose runs take several characters."""
    rng = np.random.default_rng(21)
    cases = [rng.random(rng.integers(1, 30, 2)) < rng.random() for _ in range(count)]
    block = np.zeros((300, 400), bool)
    block[17:250, 30:390] = True
    return [*cases, np.zeros((5, 7), bool), np.ones((5, 7), bool), block]
