import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_jax import faces, predict
from fer_jax.labels import EMOTIONS
from fer_jax.video import report

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "analyse_video.py"


class FakePredictor:
    emotions = EMOTIONS
    model = SimpleNamespace(metadata={"name": "fake"})

    def __init__(self, path):
        pass

    def __call__(self, batch):
        return np.tile(np.array([0.1, 0, 0, 0.8, 0.1, 0, 0], np.float32), (len(batch), 1))


def write_video(path):
    path.parent.mkdir(exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 5, (64, 48))
    for _ in range(15):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    return path


@pytest.fixture
def run(run_script, monkeypatch):
    boxes = [faces.Face(10, 10, 20, 20)]
    monkeypatch.setattr(predict, "Predictor", FakePredictor)
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: boxes)
    return lambda *arguments: run_script("analyse_video", *arguments)


def test_a_failed_file_does_not_stop_the_rest(run, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is no video\n" * 100)
    good = [write_video(tmp_path / "a" / "talk.mp4"), write_video(tmp_path / "b" / "talk.mp4")]
    out = tmp_path / "out"
    assert run(good[0], broken, tmp_path / "gone.mp4", good[1], "--out", out) == 2
    printed, errors = capsys.readouterr()
    assert errors.count("error: ") == 2
    assert f"error: {broken}: must be" in errors and "gone.mp4: cannot be read" in errors
    assert printed.count("happy 100%") == 2 and str(out / "talk-2.html") in printed
    assert {path.name for path in out.glob("*.html")} == {"talk.html", "talk-2.html"}
    assert not list(out.glob("broken*")) and not list(out.glob(".*"))


def test_good_files_and_again(run, tmp_path, capsys):
    video, out = write_video(tmp_path / "talk.mp4"), tmp_path / "out"
    assert run(video, "--out", out, "--every", "0.5") == 0
    once = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(video, "--out", out, "--every", "0.5") == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == once
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_named_before_any_work(run, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert run(write_video(tmp_path / "talk.mp4"), "--out", tmp_path / "out") == 2
    out = tmp_path / "out"
    error = f"error: {out}: must be a folder to write to, but {out} is a file\n"
    assert capsys.readouterr().err == error


def test_what_opencv_cannot_digest_is_one_failed_file(run, tmp_path, capsys, monkeypatch):
    videos, analyse = [write_video(tmp_path / name / "talk.mp4") for name in "ab"], report.analyse

    def choke(source, *arguments):
        if source == videos[0]:
            raise cv2.error("OpenCV: assertion failed\n in this frame")
        return analyse(source, *arguments)

    monkeypatch.setattr(report, "analyse", choke)
    assert run(*videos, "--out", tmp_path / "out") == 2
    printed, errors = capsys.readouterr()
    reason = "cannot be analysed: OpenCV: assertion failed in this frame"
    assert errors == f"error: {videos[0]}: {reason}\n"
    assert "happy 100%" in printed


def test_a_period_of_nought_is_refused(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("talk.mp4", "--every", "0")
    assert stopped.value.code == 2
    assert "must be a finite number of seconds above 0" in capsys.readouterr().err


def test_help_carries_the_notice():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "Art. 5(1)(f)" in done.stdout and "hiring included" in done.stdout
