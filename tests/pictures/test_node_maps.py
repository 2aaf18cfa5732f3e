"""Places of nodes and the map of them."""

import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import force_layout, plot_node_map, principal_plane


def test_neighbours_lie_nearer_than_others():
    ends = np.array([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (2, 3)]).T
    places = force_layout(*ends, 6)
    assert places.min() >= 0 and places.max() <= 1
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distance[0, 1] < distance[0, 4] and distance[4, 5] < distance[1, 5]
    assert force_layout(np.zeros(0, int), np.zeros(0, int), 0).shape == (0, 2)
    assert force_layout(np.zeros(1, int), np.zeros(1, int), 1).shape == (1, 2)


def test_the_plane_of_greatest_variance():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) * [3, 1]
    turned = plane @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    places = principal_plane(turned)
    for axis in range(2):
        assert abs(np.corrcoef(places[:, axis], plane[:, axis])[0, 1]) > 0.9
    assert principal_plane(np.ones((3, 1))).tolist() == [[0.5, 0.5]] * 3


def test_a_map_is_drawn(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 30)
    options = {"class_names": ["a", "b", "c"], "senders": np.arange(29), "receivers": np.arange(1, 30)}
    path = plot_node_map(
        tmp_path / "map.png",
        rng.random((30, 2)),
        labels=labels,
        predictions=np.maximum(labels, 0),
        where=labels > 0,
        **options,
    )
    with Image.open(path) as image:
        assert min(image.size) > 400
    with pytest.raises(ValueError, match=r"places \[2, 2\], labels \[3\]"):
        plot_node_map(path, np.zeros((2, 2)), labels=np.zeros(3), predictions=np.zeros(3), **options)
