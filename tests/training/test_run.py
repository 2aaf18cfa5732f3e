"""The options of a run and how a script ends."""

import signal

import pytest

from jaxvision.training import RESUMABLE, RunOptions, holds_checkpoint, run_script


@pytest.mark.parametrize(
    "name", ["log_every", "eval_every", "checkpoint_every", "monitor_every", "profile", "keep", "cpu_devices"]
)
def test_counts_must_be_positive(name):
    with pytest.raises(ValueError, match=f"--run.{name.replace('_', '-')}: got 0, expected 1 or more"):
        RunOptions(**{name: 0})


def test_resumable_options_exist():
    for option in RESUMABLE:
        group, _, name = option.partition(".")  # without a name, all of a group
        assert group != "run" or hasattr(RunOptions(), name)


def test_a_checkpoint_half_written_does_not_count(tmp_path):
    assert not holds_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not holds_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "2").mkdir()
    assert holds_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("batch size 3"), 1, "error: batch size 3\n"),
        (KeyboardInterrupt(), 128 + signal.SIGINT, "interrupted\n"),
        (SystemExit(2), 2, ""),
        (SystemExit("no such option"), 1, "no such option\n"),
    ],
)
def test_a_mistake_and_an_interrupt_end_with_a_line(capsys, error, code, message):
    def main(arguments):
        raise error

    with pytest.raises(SystemExit) as ended:
        run_script(main, (ValueError,))
    assert ended.value.code == code
    assert capsys.readouterr().err == message


def test_a_defect_keeps_its_traceback():
    def main(arguments):
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        run_script(main, (ValueError,))
