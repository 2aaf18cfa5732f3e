import json

import pytest

from jaxvision.training import Evaluate, JsonLines, Log, TensorBoard, Terminal, fit, read_json_lines


def test_records_reach_every_writer(line_run, line_batches, tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    writers = [JsonLines(path), TensorBoard(tmp_path / "events"), Terminal(10, interactive=False)]
    hooks = [
        Evaluate(lambda state: {"mean_iou": 0.25}, every=4, last=4),
        Log(writers, every=2, batch_size=8, learning_rate=lambda step: 0.1),
    ]
    fit(*line_run, line_batches, hooks, steps=4)
    records = read_json_lines(path)
    assert [(r["kind"], r["step"]) for r in records] == [("train", 2), ("train", 4), ("evaluate", 4)]
    train = records[0]
    assert train["loss"] == pytest.approx(train["l2"])
    assert train["images_per_second"] > 0
    assert 0 <= train["waited"] <= 1
    assert train["learning_rate"] == 0.1
    assert records[2]["mean_iou"] == 0.25
    assert list((tmp_path / "events").glob("events.*"))
    shown = capsys.readouterr().out
    assert "step 2/10" in shown and "images/s" in shown and "ETA 0:" in shown
    assert "step 4  mean_iou 0.2500" in shown


def test_a_terminal_gets_a_bar(line_run, line_batches, capsys):
    fit(*line_run, line_batches, [Log([Terminal(4, interactive=True)], every=2, batch_size=8)], steps=4)
    assert "4/4" in capsys.readouterr().out


def test_a_failed_rewrite_keeps_the_records(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": 1.0}\n')
    before = path.read_bytes()

    def full_disk(*files):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxvision.core.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        JsonLines(path, step=1)
    assert path.read_bytes() == before


def test_a_resumed_run_drops_the_records_that_it_makes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = JsonLines(path)
    for step in (1, 2, 3):
        first.write({"kind": "train", "step": step, "loss": float("nan") if step == 2 else 1.0})
    first.close()
    with path.open("a") as file:
        file.write('{"kind": "train", "st')  # killed while writing
    second = JsonLines(path, step=2)
    second.write({"kind": "train", "step": 3, "loss": 2.0})
    second.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in records] == [(1, 1.0), (2, None), (3, 2.0)]
