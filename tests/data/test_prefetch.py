import jax
import numpy as np
import pytest

from jaxvision.data import prefetch_to_device


class Counter:
    """Batches 0, 1, 2, ... up to a limit, with a position."""

    def __init__(self, limit: int = 10) -> None:
        self.limit = limit
        self.position = 0

    def __iter__(self) -> "Counter":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self.position == self.limit:
            raise StopIteration
        self.position += 1
        return {"images": np.array([self.position - 1], np.float32)}

    def get_state(self) -> dict[str, int]:
        return {"position": self.position}

    def set_state(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def values(batches) -> list[float]:
    return [float(batch["images"][0]) for batch in batches]


@pytest.mark.parametrize("depth", [0, 1, 2, 20])
def test_all_batches_come_in_order_on_the_device(depth):
    batches = list(prefetch_to_device(Counter(), jax.device_put, depth=depth))
    assert all(isinstance(batch["images"], jax.Array) for batch in batches)
    assert values(batches) == list(range(10))


@pytest.mark.parametrize("depth", [0, 1, 2, 20])
def test_the_position_counts_what_was_handed_out(depth):
    source = Counter()
    ahead = prefetch_to_device(source, jax.device_put, depth=depth)
    assert ahead.get_state() == {"position": 0}
    for count in range(1, 5):
        next(ahead)
        assert ahead.get_state() == {"position": count}
    assert source.position == min(4 + depth, 10)
    resumed = prefetch_to_device(Counter(), jax.device_put, depth=depth)
    resumed.set_state(ahead.get_state())
    assert values(resumed) == [4, 5, 6, 7, 8, 9]
    assert resumed.get_state() == {"position": 10}


def test_setting_the_position_throws_away_what_was_read_ahead():
    ahead = prefetch_to_device(Counter(), jax.device_put, depth=3)
    next(ahead)
    ahead.set_state({"position": 6})
    assert ahead.get_state() == {"position": 6}
    assert values(ahead) == [6, 7, 8, 9]


def test_a_source_without_a_position_is_named():
    ahead = prefetch_to_device([{"images": np.zeros(1, np.float32)}], jax.device_put)
    with pytest.raises(TypeError, match="list_iterator has no position to save"):
        ahead.get_state()
    assert values(ahead) == [0.0]


def test_closing_closes_the_source():
    closed = []

    def generate():
        try:
            while True:
                yield {"images": np.zeros(1, np.float32)}
        finally:
            closed.append(True)

    ahead = prefetch_to_device(generate(), jax.device_put)
    next(ahead)
    ahead.close()
    assert closed == [True]
    assert list(ahead) == []
    prefetch_to_device(Counter(), jax.device_put).close()  # nothing to close: no error


def test_negative_depth_is_refused():
    with pytest.raises(ValueError, match="depth: got -1"):
        prefetch_to_device([], jax.device_put, depth=-1)
