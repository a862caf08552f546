import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax import cli, faces, stream

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "preprocess.py"
SHIPPED = ROOT / "results" / "preprocessing_test"
CLIP = SHIPPED / "input_video.mp4"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("preprocess", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(script, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["preprocess.py", *map(str, arguments)])
        return cli.run(script.main)

    return run


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def cut(script, tmp_path_factory):
    """The folder that the script makes of the shipped clip, and what it prints."""
    out = tmp_path_factory.mktemp("cut") / "new" / "folder"
    command = [sys.executable, SCRIPT, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return out, done


def test_twenty_seconds_give_a_grey_face_each(cut):
    out, done = cut
    paths = list(out.iterdir())
    assert {path.name for path in paths} == {f"image{index}.png" for index in range(21)}
    for path in paths:
        face = read(path)
        assert face.shape == (48, 48) and face.dtype == np.uint8
        assert face.std() > 20  # a face, not a wall
    assert done.stdout == f"{CLIP}: 21 samples, 21 faces in {out}, 0 without a face\n"
    assert done.stderr == ""


def test_shipped_faces_are_those_of_the_shipped_clip(cut):
    for path in cut[0].iterdir():
        difference = read(path).astype(int) - read(SHIPPED / path.name)
        assert abs(difference).mean() < 2, path.name  # video decoders may differ in the last bits


def test_clip_is_small_and_twenty_seconds_long():
    assert CLIP.stat().st_size < 2_000_000
    with stream.Video(CLIP) as video:
        assert video.duration == pytest.approx(20, abs=0.1)


def test_face_is_in_the_centre(cut):
    """A face found again in the written 48x48 picture, given room around it, sits in its middle, within 10 %."""
    detector = faces.HaarDetector()
    for path in cut[0].iterdir():
        enlarged = cv2.resize(read(path), (192, 192), interpolation=cv2.INTER_CUBIC)
        box = faces.largest(detector(cv2.copyMakeBorder(enlarged, 96, 96, 96, 96, cv2.BORDER_REPLICATE)))
        assert box is not None, path.name
        centre = np.array([box.x + box.w / 2, box.y + box.h / 2]) - 192
        assert (abs(centre) <= 0.1 * 192).all(), (path.name, centre / 192)


def test_only_own_files_are_replaced(cut, run, tmp_path):
    others = ["image.png", "image1.jpg", "my_image1.png", "image1.png.txt", "imagex1.png", "notes"]
    for name in others:
        (tmp_path / name).write_text(name)
    for number in (0, 57):
        faces.write_face(tmp_path / f"image{number}.png", np.zeros((48, 48), np.uint8))
    assert run("--out", tmp_path, "--every", 5) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*others, *(f"image{number}.png" for number in range(5))}
    assert all((tmp_path / name).read_text() == name for name in others)
    for number in range(5):
        np.testing.assert_array_equal(read(tmp_path / f"image{number}.png"), read(cut[0] / f"image{5 * number}.png"))


def test_a_picture_of_somebody_else_is_not_replaced(run, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "image3.png"), np.zeros((60, 80, 3), np.uint8))
    before = (tmp_path / "image3.png").read_bytes()
    assert run("--out", tmp_path) == 2
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
    assert re.fullmatch(r"error: .*image3\.png: .* choose another --out\n", capsys.readouterr().err)


def test_earlier_faces_survive_a_bad_source(run, tmp_path):
    faces.write_face(tmp_path / "image0.png", np.full((48, 48), 9, np.uint8))
    assert run("--source", tmp_path / "gone.mp4", "--out", tmp_path) == 2
    assert (read(tmp_path / "image0.png") == 9).all()


def test_samples_without_a_face_have_no_image(run, tmp_path, capsys):
    with stream.Video(CLIP) as video:
        (_, frame), *_ = video.frames(30)
    path, wall = tmp_path / "video.mp4", np.full_like(frame, 128)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, frame.shape[1::-1])
    for second in range(3):
        for _ in range(10):
            writer.write(wall if second == 1 else frame)
    writer.release()
    assert run("--source", path, "--out", tmp_path / "out") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"image0.png", "image2.png"}
    assert "3 samples, 2 faces" in capsys.readouterr().out


def test_a_file_that_is_no_video_ends_in_one_line(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 100)
    command = [sys.executable, SCRIPT, "--source", path, "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*notes\.mp4: must be a camera or a video.*\n", done.stderr)  # nothing from FFmpeg
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_ends_in_one_line(run, tmp_path, capsys):
    path = tmp_path / "locked.mp4"
    path.touch(mode=0)
    assert run("--source", path, "--out", tmp_path / "out") == 2
    assert re.fullmatch(r"error: .*locked\.mp4: cannot be read: Permission denied\n", capsys.readouterr().err)


def test_a_camera_is_read_until_ctrl_c_and_what_it_saw_is_kept(script, run, monkeypatch, tmp_path):
    with stream.Video(CLIP) as video:
        frames = list(video.frames(8))

    class Interrupted:
        live, duration, name = True, None, "camera 0"
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def frames(self, every):
            yield from frames
            raise KeyboardInterrupt

    monkeypatch.setattr(script.stream, "Video", lambda source: Interrupted())
    assert run("--source", 0, "--out", tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"image0.png", "image1.png", "image2.png"}
