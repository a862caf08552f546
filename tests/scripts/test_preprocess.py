import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax import faces
from fer_jax.video import capture

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "preprocess.py"
SHIPPED = ROOT / "results" / "preprocessing_test"
CLIP = SHIPPED / "input_video.mp4"
WITHOUT_YUNET = {"FER_JAX_YUNET": "", "XDG_CACHE_HOME": str(SHIPPED / "no_cache")}


@pytest.fixture(autouse=True)
def no_yunet_at_hand(monkeypatch):
    """Whatever the user's own environment and cache hold: the shipped faces are Haar's."""
    for name, value in WITHOUT_YUNET.items():
        monkeypatch.setenv(name, value)


def preprocess(*arguments):
    """Run the script in a process of its own."""
    command = [sys.executable, SCRIPT, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **WITHOUT_YUNET}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The folder that the script makes of the shipped clip, and what it prints."""
    out = tmp_path_factory.mktemp("cut") / "new" / "folder"
    done = preprocess("--out", out)
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
    counts = f"21 samples, 21 faces in {out}, 0 without a face (Haar)"
    assert done.stdout == f"{CLIP.relative_to(ROOT)}: {counts}\n"
    assert done.stderr == ""


def test_shipped_faces_are_those_of_the_shipped_clip(cut):
    for path in cut[0].iterdir():
        difference = read(path).astype(int) - read(SHIPPED / path.name)
        assert abs(difference).mean() < 2, path.name  # video decoders may differ in the last bits


def test_clip_is_small_and_twenty_seconds_long():
    assert CLIP.stat().st_size < 2_000_000
    with capture.Video(CLIP) as video:
        assert video.duration == pytest.approx(20, abs=0.1)


def assert_centred(path):
    """Find a face in the middle, within 10 %, of a written picture that is given room around."""
    enlarged = cv2.resize(read(path), (192, 192), interpolation=cv2.INTER_CUBIC)
    room = cv2.copyMakeBorder(enlarged, 96, 96, 96, 96, cv2.BORDER_REPLICATE)
    face = faces.largest(faces.HaarDetector()(room))
    assert face is not None, path.name
    centre = np.array(face.centre) - 192
    assert (abs(centre) <= 0.1 * 192).all(), (path.name, centre / 192)


def test_face_is_in_the_centre(cut):
    for path in cut[0].iterdir():
        assert_centred(path)


@pytest.fixture
def pictures(tmp_path):
    """A folder with a photograph, a wall, the photograph grey and on its side (EXIF), a note."""
    with capture.Video(CLIP) as video:
        (_, frame), *_ = video.frames(30)
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), frame)
    cv2.imwrite(str(folder / "b.png"), np.full_like(frame, 128))
    lying = cv2.rotate(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", lying, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    # orientation 6: turn it clockwise
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (folder / "c.JPG").write_bytes(jpeg[:2] + segment + jpeg[2:])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_gives_a_face_per_picture(run_script, pictures, tmp_path, capsys):
    assert run_script("preprocess", "--source", pictures, "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"image0.png", "image2.png"}
    counts = f"3 samples, 2 faces in {tmp_path / 'out'}, 1 without a face (Haar)"
    assert capsys.readouterr().out == f"{pictures}: {counts}\n"
    colour = read(tmp_path / "out" / "image0.png").astype(int)
    grey = read(tmp_path / "out" / "image2.png").astype(int)
    assert abs(colour - grey).mean() < 8  # the box may move by a pixel


def test_a_folder_with_a_broken_picture_writes_nothing(run_script, pictures, tmp_path, capsys):
    (pictures / "d.png").write_bytes(b"no picture")
    assert run_script("preprocess", "--source", pictures, "--out", tmp_path / "out") == 2
    assert re.fullmatch(r"error: .*d\.png: must be a picture .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_needs_pictures_and_another_out(run_script, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run_script("preprocess", "--source", tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert "it holds none" in capsys.readouterr().err
    same = pictures / ".." / "pictures"
    assert run_script("preprocess", "--source", pictures, "--out", same) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert len(list(pictures.iterdir())) == 4


@pytest.mark.parametrize("detector", ["auto", "yunet"])
def test_another_detector_file_ends_in_one_line(run_script, tmp_path, capsys, detector):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"somebody else's network")
    chosen = ("--detector", detector, "--detector-model", path)
    assert run_script("preprocess", *chosen, "--out", tmp_path / "out") == 2
    assert re.fullmatch(r"error: .*mine\.onnx: must be OpenCV Zoo's .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_yunet_centres_the_face_too(run_script, shared, tmp_path, capsys):
    """Cut by YuNet, every face of the clip is found again by Haar, in the middle."""
    model = shared / "models" / faces.YUNET_FILE
    if not model.is_file():
        pytest.skip(f"needs YuNet: {model} (set FER_SHARED)")
    assert run_script("preprocess", "--detector-model", model, "--out", tmp_path, "--every", 2) == 0
    assert re.search(r"11 samples, 11 faces .*\(YuNet\)\n$", capsys.readouterr().out)
    for path in tmp_path.glob("image*.png"):
        assert_centred(path)


def test_samples_without_a_face_have_no_image(run_script, tmp_path, capsys):
    with capture.Video(CLIP) as video:
        (_, frame), *_ = video.frames(30)
    path, wall = tmp_path / "video.mp4", np.full_like(frame, 128)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, frame.shape[1::-1]
    )
    for second in range(3):
        for _ in range(10):
            writer.write(wall if second == 1 else frame)
    writer.release()
    assert run_script("preprocess", "--source", path, "--out", tmp_path / "out") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"image0.png", "image2.png"}
    assert "3 samples, 2 faces" in capsys.readouterr().out


def test_a_file_that_is_no_video_ends_in_one_line(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 100)
    done = preprocess("--source", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    # nothing from FFmpeg
    assert re.fullmatch(r"error: .*notes\.mp4: must be a camera or a video.*\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read_ends_in_one_line(run_script, tmp_path, capsys):
    path = tmp_path / "locked.mp4"
    path.touch(mode=0)
    assert run_script("preprocess", "--source", path, "--out", tmp_path / "out") == 2
    assert re.fullmatch(
        r"error: .*locked\.mp4: cannot be read: Permission denied\n", capsys.readouterr().err
    )
