"""Residual, inverted residual, dense, inception and attention blocks against what PyTorch computes."""

import pytest
from oracles.residual_block_cases import CASES, check_against, check_transformations, recorded


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_equals_live_torch(name):
    pytest.importorskip("torch")
    from oracles.torch_residual_blocks import torch_outputs

    check_against(CASES[name], torch_outputs(name, CASES[name]))


@pytest.mark.parametrize(
    "name",
    ["bottleneck_grouped", "cbam_authors", "darknet", "dense_block", "inception", "mobilenet_v3", "squeeze"],
)
def test_goes_through_every_transformation(name):
    check_transformations(CASES[name])
