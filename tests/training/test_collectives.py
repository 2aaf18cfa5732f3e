"""Collectives counted from XLA's text, and the time that they take in a ring."""

import pytest

from jaxvision.training import Collective, count_collectives, ring_seconds, sent_bytes

PROGRAM = """
HloModule jit_step, is_scheduled=true
%add { ROOT %add.1 = f32[] add(f32[] %a, f32[] %b) }
ENTRY %main {
  %all-reduce.1 = f32[3,3,4,8]{3,2,1,0} all-reduce(f32[3,3,4,8]{3,2,1,0} %g), channel_id=1, to_apply=%add
  %ar = (f32[8]{0}, bf16[16]{0}, pred[4]{0}) all-reduce(%x, %y, %z), channel_id=2, to_apply=%add
  %gte = f32[8]{0} get-tuple-element(%ar), index=0
  %ags = (f32[4]{0}, f32[32]{0}) all-gather-start(%p), channel_id=3, dimensions={0}
  %agd = f32[32]{0} all-gather-done((f32[4]{0}, f32[32]{0}) %ags)
  %rs = f32[2]{0} reduce-scatter(f32[16]{0} %q), channel_id=4, dimensions={0}
  %empty = f32[] all-reduce(f32[] %loss), channel_id=5
  ROOT %name = f32[] fusion(%all-reduce.1), kind=kLoop, metadata={op_name="psum all-reduce(x)"}
}
"""


def test_each_collective_is_counted_once_with_its_bytes():
    assert count_collectives(PROGRAM, num_devices=8) == [
        Collective("all-reduce", 3 * 3 * 4 * 8 * 4, 1),
        Collective("all-reduce", 8 * 4 + 16 * 2 + 4, 3),
        Collective("all-gather", 32 * 4, 1),
        Collective("reduce-scatter", 16 * 4, 1),
        Collective("all-reduce", 4, 1),
    ]


def test_a_program_of_one_device_has_none():
    assert count_collectives("ENTRY %main { ROOT %x = f32[2] add(%a, %b) }", num_devices=1) == []


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("all-reduce", 1400), ("all-gather", 700), ("reduce-scatter", 700), ("collective-permute", 800)],
)
def test_bytes_that_a_device_sends(kind, sent):
    assert sent_bytes(Collective(kind, 800, 1), 8) == sent


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather():
    both = [Collective("reduce-scatter", 4096, 1), Collective("all-gather", 4096, 1)]
    link = {"bytes_per_second": 1e9, "hop_seconds": 1e-6}
    whole = ring_seconds([Collective("all-reduce", 4096, 1)], 16, **link)
    assert whole == pytest.approx(ring_seconds(both, 16, **link))
    assert whole == pytest.approx(2 * 15 / 16 * 4096 / 1e9 + 30e-6)
    assert ring_seconds(both, 1, **link) == 0.0


def test_a_torus_has_fewer_hops_than_a_ring():
    sums, link = [Collective("all-reduce", 0, 1)], {"bytes_per_second": 1.0, "hop_seconds": 1.0}
    assert ring_seconds(sums, 64, **link) == 2 * 63
    assert ring_seconds(sums, 64, hops=3 * 3, **link) == 2 * 9
