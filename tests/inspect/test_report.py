"""The table, the CSV and the picture of a summary, and the command."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from jaxvision.inspect import Layer, format_table, plot_summary, write_csv
from jaxvision.inspect.__main__ import main

LAYERS = (
    Layer("conv", "Conv", ((1, 8, 8, 3),), ((1, 8, 8, 4),), 112, 6_912, (3, 5), 1_024),
    Layer("", "Net", ((1, 8, 8, 4), (1, 4)), ((1, 10), ()), 1_234_567, 2_500_000_000, None, 3 * 2**30),
)


def test_table():
    assert format_table(LAYERS).splitlines() == [
        "layer      type  output       parameters    MACs   memory  field",
        "conv       Conv  1x8x8x4             112  6.91 K  1.0 KiB    3x5",
        "(network)  Net   1x10 scalar   1,234,567  2.50 G  3.0 GiB      -",
        "total                          1,234,679  2.50 G  3.0 GiB      -",
    ]
    with pytest.raises(ValueError, match="layers: got none"):
        format_table([])


def test_csv_holds_the_exact_numbers(tmp_path):
    path = write_csv(tmp_path / "new" / "layers.csv", LAYERS)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["flops"]) for row in rows] == [13_824, 5_000_000_000]
    assert rows[0] == {
        "layer": "conv",
        "type": "Conv",
        "inputs": "1x8x8x3",
        "outputs": "1x8x8x4",
        "parameters": "112",
        "macs": "6912",
        "flops": "13824",
        "activation_bytes": "1024",
        "receptive_field": "3x5",
    }
    assert (rows[1]["inputs"], rows[1]["outputs"], rows[1]["receptive_field"]) == (
        "1x8x8x4 1x4",
        "1x10 scalar",
        "",
    )


def test_picture_shows_bars_and_lines(tmp_path):
    from PIL import Image

    path = plot_summary(tmp_path / "layers.png", LAYERS, title="net")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 500 * 200
    colours = {tuple(map(int, colour)) for colour in np.unique(pixels, axis=0)}
    assert {(0x3B, 0x6E, 0xA8), (0xC8, 0x55, 0x3D), (0x5A, 0x8F, 0x4F)} <= colours
    # Layers without products are left out only beside others.
    plot_summary(tmp_path / "norms.png", [LAYERS[0]._replace(macs=0)])
    with pytest.raises(ValueError, match="layers: got none"):
        plot_summary(tmp_path / "none.png", [])


def test_command(tmp_path, capsys):
    arguments = ["unet", "--size", "32", "48", "--set", "features=(2,4)", "--set", "num_classes=3"]
    files = ["--csv", str(tmp_path / "u.csv"), "--picture", str(tmp_path / "u.png")]
    assert main([*arguments, *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "MACs", "memory", "field"]
    assert any(line.startswith("head") and "1x32x48x3" in line for line in lines)
    assert (tmp_path / "u.csv").exists()
    assert (tmp_path / "u.png").exists()


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["r3d_18"], "1x16x56x56x64"),
        (["r3d_18", "--frames", "8", "--size", "64"], "1x8x32x32x64"),
        (["ji_3dcnn", "--channels", "1", "--batch", "2"], "2x5x54x34x2"),
        (["resnet18"], "1x112x112x64"),
    ],
)
def test_command_takes_the_networks_own_input(arguments, first, capsys):
    assert main(arguments) == 0
    assert first in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c3d", "--frames", "8"], "at least 16 frames"),
        (["resnet18", "--frames", "8"], "images: expected [N, H, W, C], got [1, 8, 224, 224, 3]"),
        (["unett"], "unknown network 'unett'; did you mean 'unet'"),
        (["unet", "--set", "features"], "--set features: expected FIELD=VALUE"),
        (["unet", "--set", "width=3"], "width"),
        (["vgg16", "--size", "8"], "at least 32 pixels"),
    ],
)
def test_command_explains_mistakes(arguments, message, capsys):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_command_runs_as_a_module():
    command = [sys.executable, "-m", "jaxvision.inspect", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "python -m jaxvision.inspect" in done.stdout
