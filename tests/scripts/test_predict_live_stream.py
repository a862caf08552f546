import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_jax import cli, faces, labels, stream
from fer_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "predict_live_stream.py"
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
MODEL = ROOT / "results" / "model" / "my_own_model.pkl"
EMOTIONS = "|".join(name.capitalize() for name in labels.EMOTIONS)
EVENT = rf"Preprocessing \.\.\.\n(\d\d:\d\d:\d\d)s : (?:no face|(?:{EMOTIONS}) , (?:100|\d?\d)%)\n\n"


def fake_predictor(batch):
    assert batch.shape == (1, 48, 48) and batch.dtype == np.uint8
    return np.array([[0.01, 0, 0.02, 0.734, 0.006, 0.03, 0.2]], np.float32)


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("predict_live_stream", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "load_predictor", lambda model: fake_predictor)
    return module


@pytest.fixture
def run(script, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict_live_stream.py", *map(str, arguments)])
        return cli.run(script.main)

    return run


def test_output_has_the_exact_form(run, capsys):
    assert run("--source", CLIP, "--fast") == 0
    out, err = capsys.readouterr()
    seconds = "".join(f"Preprocessing ...\n00:00:{second:02d}s : Happy , 73%\n\n" for second in range(21))
    assert out == "Reading video stream ...\n\n" + seconds
    assert err == ""


def test_no_face_is_said(script, run, monkeypatch, capsys):
    monkeypatch.setattr(faces, "HaarDetector", lambda: lambda frame: [])
    assert run("--source", CLIP, "--fast", "--every", 10) == 0
    events = "".join(f"Preprocessing ...\n00:00:{second}s : no face\n\n" for second in ("00", "10", "20"))
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events


def test_max_seconds_ends_early(run, capsys):
    assert run("--source", CLIP, "--fast", "--max-seconds", 3) == 0
    assert re.findall(EVENT, capsys.readouterr().out) == ["00:00:00", "00:00:01", "00:00:02"]


def test_every_sets_the_period(run, capsys):
    assert run("--source", CLIP, "--fast", "--every", 0.5, "--max-seconds", 1.5) == 0
    assert re.findall(EVENT, capsys.readouterr().out) == ["00:00:00", "00:00:00", "00:00:01"]


def test_without_a_camera_the_clip_is_played(script, run, monkeypatch, capsys):
    opened = []

    class Video(stream.Video):
        def __init__(self, source):
            opened.append(source)
            if source == 0:
                raise InputError("camera 0: gives no frame")
            super().__init__(source)

    monkeypatch.setattr(stream, "Video", Video)
    assert run("--fast") == 0
    out, err = capsys.readouterr()
    assert opened == [0, CLIP]
    assert len(re.findall(EVENT, out)) == 21
    assert err == f"no camera: playing {CLIP}\n"


def test_a_camera_shows_the_clock(script, run, monkeypatch, capsys):
    with stream.Video(CLIP) as video:
        frames = list(video.frames(10))

    class Camera:
        live = True
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def frames(self, every):
            for second, (_, frame) in enumerate(frames):
                yield 1_700_000_000.0 + second, frame

    monkeypatch.setattr(stream, "Video", lambda source: Camera())
    assert run() == 0
    out, err = capsys.readouterr()
    stamps = [stream.time_of_day(1_700_000_000 + second, live=True) for second in range(3)]
    assert re.findall(EVENT, out) == stamps
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n(?:{EVENT}){{3}}", out)
    assert err == ""


def test_ctrl_c_ends_without_a_traceback_and_closes_the_source(script, run, monkeypatch, capsys):
    closed = []

    def interrupted(frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(faces, "HaarDetector", lambda: interrupted)
    monkeypatch.setattr(stream.Video, "close", lambda self: closed.append(self.name))
    assert run("--source", CLIP) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("Reading video stream ...\n\n", "interrupted\n")
    assert closed == [str(CLIP)]


def test_a_bad_source_leaves_stdout_empty(run, tmp_path, capsys):
    assert run("--source", tmp_path / "gone.mp4") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .*gone\.mp4: cannot be read: No such file or directory\n", err)


@pytest.mark.parametrize("option", ["--every", "--max-seconds"])
def test_a_bad_period_is_refused(run, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, option, "0")
    assert f"argument {option}: must be a finite number of seconds above 0, got '0'" in capsys.readouterr().err


@pytest.fixture
def shipped_command():
    if not MODEL.is_file():
        pytest.skip(f"needs the shipped model: {MODEL}")
    return [sys.executable, str(SCRIPT), "--source", str(CLIP)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def test_the_real_script_with_the_shipped_model(shipped_command):
    done = subprocess.run([*shipped_command, "--fast"], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n(?:{EVENT}){{21}}", done.stdout)
    assert "no face" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_real_script_ends_on_ctrl_c(shipped_command):
    process = subprocess.Popen(shipped_command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]  # flushed line by line, or this would wait for the end
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n{EVENT}", "".join(lines))
    assert (process.returncode, err) == (130, "interrupted\n")
