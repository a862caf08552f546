"""Ctrl-C, SIGTERM and SIGKILL against the smoke network, as typed in a terminal."""

import signal
import subprocess
import sys

import pytest

from fer_jax.training import interrupts
from fer_jax.training.workdir import has_checkpoint

GO_ON = "the same command with --resume goes on"


def until(process, words):
    """Read what it prints until a line begins with these words."""
    for line in process.stdout:
        if line.startswith(words):
            return
    raise AssertionError(process.stderr.read())


def errors(text):
    """What is printed beside the warning that so few faces are not FER-2013."""
    return [line for line in text.splitlines() if not line.startswith("warning: ")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_keeps_its_epochs_and_says_how_to_go_on(
    train, tmp_path, number, code
):
    process = train()
    until(process, "epoch   2")
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code
    (line,) = errors(err)
    assert line.endswith(f"{tmp_path / 'run'} keeps the finished epochs; {GO_ON}")
    done = len((tmp_path / "run" / "history.csv").read_text().splitlines()) - 1
    assert (tmp_path / "run" / "checkpoints" / str(done)).is_dir()
    assert len(out.splitlines()) == done - 2  # whoever sees an epoch's line has the epoch
    again = train("--resume")
    until(again, f"epoch {done + 1:3d}")


def test_a_workdir_is_one_processs_until_that_is_gone(train, tmp_path):
    first = train()
    until(first, "epoch   1")
    second = train("--resume")
    out, err = second.communicate()
    assert second.returncode == 2 and "epoch" not in out
    rule = "another process is training there; give another --workdir"
    assert errors(err) == [f"error: {tmp_path / 'run'}: {rule}"]
    first.kill()
    first.wait()
    assert has_checkpoint(tmp_path / "run" / "checkpoints")
    until(train("--resume"), "epoch")


STUCK = """
import signal, sys
from fer_jax.training import interrupts
interrupts.PATIENCE = 0.1
with interrupts.answered("advice"):
    signal.signal(signal.SIGINT, lambda *_: None)  # as long as compiled code runs, nothing happens
    print("ready", flush=True)
    while True:
        signal.pause()
"""


def test_a_process_that_cannot_answer_is_ended(root, usual_signals):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(process, "ready")
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "ended by SIGINT: advice\n"
    assert process.returncode == 130


def test_what_must_be_whole_is_finished_first(usual_signals):
    done = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts.deferred():
            done.append("begun")
            signal.raise_signal(signal.SIGINT)
            done.append("ended")
        done.append("too late")
    assert done == ["begun", "ended"]


def test_advice_is_for_interrupts_not_for_errors():
    for error, notes in ((KeyboardInterrupt(), ["advice"]), (ValueError(), [])):
        with pytest.raises(type(error)) as caught, interrupts.answered("advice"):
            raise error
        assert getattr(caught.value, "__notes__", []) == notes
