import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fer_jax import labels

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "predict_live_stream.py"
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
MODEL = ROOT / "results" / "model" / "my_own_model.pkl"
EMOTIONS = "|".join(name.capitalize() for name in labels.EMOTIONS)
SAID = rf"(?:no face|(?:{EMOTIONS}) , (?:100|\d?\d)%)"
EVENT = rf"Preprocessing \.\.\.\n(\d\d:\d\d:\d\d)s : {SAID}\n\n"


@pytest.fixture
def run(run_script):
    return lambda *arguments: run_script("predict_live_stream", *arguments)


@pytest.mark.parametrize("arguments", [("--eps", "0.1"), ("--hack", "sad", "--eps", "8")])
def test_an_eps_without_a_hack_or_above_one_is_refused(run, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, *arguments)
    assert "--eps goes with --hack and must be at most 1" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--every", "--max-seconds", "--smooth"])
def test_a_bad_period_is_refused(run, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, option, "0")
    rule = "must be a finite number of seconds above 0, at least 0.001, got '0'"
    assert f"argument {option}: {rule}" in capsys.readouterr().err


def test_a_confidence_out_of_range_is_refused(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, "--min-confidence", "31")
    rule = "argument --min-confidence: must be a number from 0 to 1, got '31'"
    assert rule in capsys.readouterr().err


@pytest.fixture
def shipped_command():
    if not MODEL.is_file():
        pytest.skip(f"needs the shipped model: {MODEL}")
    return [sys.executable, str(SCRIPT), "--source", str(CLIP)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def test_the_real_script_with_the_shipped_model(shipped_command):
    command = [*shipped_command, "--fast"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n(?:{EVENT}){{21}}", done.stdout)
    assert "no face" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_real_script_ends_on_ctrl_c(usual_signals, shipped_command):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(shipped_command, **pipes, env=environment())
    assert process.stdout is not None
    # flushed line by line, or this would wait for the end
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n{EVENT}", "".join(lines))
    assert (process.returncode, err) == (130, "interrupted\n")
