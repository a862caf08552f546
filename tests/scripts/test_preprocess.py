import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax import cli, faces
from fer_jax.video import stream

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "preprocess.py"
SHIPPED = ROOT / "results" / "preprocessing_test"
CLIP = SHIPPED / "input_video.mp4"
WITHOUT_YUNET = {"FER_JAX_YUNET": "", "XDG_CACHE_HOME": str(SHIPPED / "no_cache")}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/preprocess.py")


@pytest.fixture
def run(script, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["preprocess.py", *map(str, arguments)])
        return cli.run(script.main)

    return run


@pytest.fixture(autouse=True)
def no_yunet_at_hand(monkeypatch):
    """Whatever the user's own environment and cache hold: the shipped faces are Haar's."""
    for name, value in WITHOUT_YUNET.items():
        monkeypatch.setenv(name, value)


def preprocess(*arguments):
    """Run the script in a process of its own."""
    command, environment = (
        [sys.executable, SCRIPT, *arguments],
        {**os.environ, "PYTHONPATH": str(ROOT), **WITHOUT_YUNET},
    )
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def cut(script, tmp_path_factory):
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
    assert done.stdout == f"{CLIP}: 21 samples, 21 faces in {out}, 0 without a face (Haar)\n"
    assert done.stderr == ""


def test_shipped_faces_are_those_of_the_shipped_clip(cut):
    for path in cut[0].iterdir():
        difference = read(path).astype(int) - read(SHIPPED / path.name)
        assert abs(difference).mean() < 2, path.name  # video decoders may differ in the last bits


def test_clip_is_small_and_twenty_seconds_long():
    assert CLIP.stat().st_size < 2_000_000
    with stream.Video(CLIP) as video:
        assert video.duration == pytest.approx(20, abs=0.1)


def assert_centred(path):
    """A face found again in the written 48x48 picture, given room around it, sits in its middle,
    within 10 %.
    """
    enlarged = cv2.resize(read(path), (192, 192), interpolation=cv2.INTER_CUBIC)
    box = faces.largest(
        faces.HaarDetector()(cv2.copyMakeBorder(enlarged, 96, 96, 96, 96, cv2.BORDER_REPLICATE))
    )
    assert box is not None, path.name
    centre = np.array([box.x + box.w / 2, box.y + box.h / 2]) - 192
    assert (abs(centre) <= 0.1 * 192).all(), (path.name, centre / 192)


def test_face_is_in_the_centre(cut):
    for path in cut[0].iterdir():
        assert_centred(path)


def test_only_own_files_are_replaced(script, cut, run, tmp_path):
    others = ["image.png", "image1.jpg", "my_image1.png", "image1.png.txt", "imagex1.png", "notes"]
    for name in others:
        (tmp_path / name).write_text(name)
    for number in (0, 57):
        script.write_face(
            tmp_path / f"image{number}.png", np.zeros((48, 48), np.uint8), script.MARK
        )
    assert run("--out", tmp_path, "--every", 5) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *others,
        *(f"image{number}.png" for number in range(5)),
    }
    assert all((tmp_path / name).read_text() == name for name in others)
    for number in range(5):
        np.testing.assert_array_equal(
            read(tmp_path / f"image{number}.png"), read(cut[0] / f"image{5 * number}.png")
        )


@pytest.mark.parametrize("shape", [(60, 80, 3), (48, 48)])
def test_a_picture_of_somebody_else_is_not_replaced(run, tmp_path, capsys, shape):
    cv2.imwrite(str(tmp_path / "image3.png"), np.zeros(shape, np.uint8))
    before = (tmp_path / "image3.png").read_bytes()
    assert run("--out", tmp_path) == 2
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]
    assert re.fullmatch(r"error: .*image3\.png: .* choose another --out\n", capsys.readouterr().err)


def test_the_shipped_faces_are_the_scripts_own_and_stay_as_they_are(
    script, cut, run, monkeypatch, tmp_path
):
    """They bear no mark, and a run that replaces them makes none: the checkout stays clean."""
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    for number in (0, 20):
        (tmp_path / f"image{number}.png").write_bytes((SHIPPED / f"image{number}.png").read_bytes())
    assert run("--source", CLIP, "--every", 10) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image0.png",
        "image1.png",
        "image2.png",
    ]
    marked = (cut[0] / "image0.png").read_bytes()
    assert (tmp_path / "image0.png").read_bytes() == marked.replace(script.MARK, b"") != marked


def test_earlier_faces_survive_a_bad_source(script, run, tmp_path):
    script.write_face(tmp_path / "image0.png", np.full((48, 48), 9, np.uint8), script.MARK)
    assert run("--source", tmp_path / "gone.mp4", "--out", tmp_path) == 2
    assert (read(tmp_path / "image0.png") == 9).all()


@pytest.fixture
def pictures(tmp_path):
    """A folder with a photograph in colour, a wall, the photograph in grey and lying on its side
    (EXIF), and a note.
    """
    with stream.Video(CLIP) as video:
        (_, frame), *_ = video.frames(30)
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), frame)
    cv2.imwrite(str(folder / "b.png"), np.full_like(frame, 128))
    lying = cv2.rotate(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", lying, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    # orientation 6: turn it clockwise
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    (folder / "c.JPG").write_bytes(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    )
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_gives_a_face_per_picture(run, pictures, tmp_path, capsys):
    assert run("--source", pictures, "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"image0.png", "image2.png"}
    assert (
        capsys.readouterr().out
        == f"{pictures}: 3 samples, 2 faces in {tmp_path / 'out'}, 1 without a face (Haar)\n"
    )
    colour, grey = (
        read(tmp_path / "out" / name).astype(int) for name in ("image0.png", "image2.png")
    )
    assert abs(colour - grey).mean() < 8  # the box may move by a pixel


def test_a_folder_with_a_broken_picture_writes_nothing(run, pictures, tmp_path, capsys):
    (pictures / "d.png").write_bytes(b"no picture")
    assert run("--source", pictures, "--out", tmp_path / "out") == 2
    assert re.fullmatch(r"error: .*d\.png: must be a picture .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_needs_pictures_and_another_out(run, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("--source", tmp_path / "empty", "--out", tmp_path / "out") == 2
    assert "it holds none" in capsys.readouterr().err
    assert run("--source", pictures, "--out", pictures / ".." / "pictures") == 2
    assert "choose another --out" in capsys.readouterr().err
    assert len(list(pictures.iterdir())) == 4


@pytest.mark.parametrize("detector", ["auto", "yunet"])
def test_another_detector_file_ends_in_one_line(run, tmp_path, capsys, detector):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"somebody else's network")
    assert run("--detector", detector, "--detector-model", path, "--out", tmp_path / "out") == 2
    assert re.fullmatch(r"error: .*mine\.onnx: must be OpenCV Zoo's .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_yunet_centres_the_face_too(run, shared, tmp_path, capsys):
    """Cut by YuNet, every face of the clip is found again by Haar, in the middle."""
    model = shared / "models" / faces.YUNET_FILE
    if not model.is_file():
        pytest.skip(f"needs YuNet: {model} (set FER_SHARED)")
    assert run("--detector-model", model, "--out", tmp_path, "--every", 2) == 0
    assert "11 samples, 11 faces" in (said := capsys.readouterr().out) and said.endswith(
        "(YuNet)\n"
    )
    for path in tmp_path.glob("image*.png"):
        assert_centred(path)


def test_samples_without_a_face_have_no_image(run, tmp_path, capsys):
    with stream.Video(CLIP) as video:
        (_, frame), *_ = video.frames(30)
    path, wall = tmp_path / "video.mp4", np.full_like(frame, 128)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, frame.shape[1::-1]
    )
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
    done = preprocess("--source", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    # nothing from FFmpeg
    assert re.fullmatch(r"error: .*notes\.mp4: must be a camera or a video.*\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read_ends_in_one_line(run, tmp_path, capsys):
    path = tmp_path / "locked.mp4"
    path.touch(mode=0)
    assert run("--source", path, "--out", tmp_path / "out") == 2
    assert re.fullmatch(
        r"error: .*locked\.mp4: cannot be read: Permission denied\n", capsys.readouterr().err
    )


class Interrupted:
    """A camera on which Ctrl-C is pressed after some frames."""

    live, duration, name = True, None, "camera 0"
    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None

    def __init__(self, frames):
        self._frames = frames

    def frames(self, every):
        yield from self._frames
        raise KeyboardInterrupt


def test_a_camera_is_read_until_ctrl_c_and_what_it_saw_is_kept(script, run, monkeypatch, tmp_path):
    on_disk = []

    def frames(video):
        for frame in video.frames(8):
            on_disk.append(sorted(path.name for path in tmp_path.rglob("image*.png")))
            yield frame

    with stream.Video(CLIP) as video:
        camera = Interrupted(frames(video))
        monkeypatch.setattr(script.stream, "Video", lambda source: camera)
        assert run("--source", 0, "--out", tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"image0.png", "image1.png", "image2.png"}
    # as they come: memory holds none of them
    assert on_disk == [[], ["image0.png"], ["image0.png", "image1.png"]]


def test_a_source_that_gave_nothing_replaces_nothing(script, run, monkeypatch, tmp_path, capsys):
    script.write_face(tmp_path / "image0.png", np.full((48, 48), 9, np.uint8), script.MARK)
    monkeypatch.setattr(script.stream, "Video", lambda source: Interrupted([]))
    assert run("--source", "http://silent/", "--out", tmp_path) == 2
    assert (
        capsys.readouterr().err
        == "error: camera 0: must give a frame, but gave none: nothing is written\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["image0.png"] and (
        read(tmp_path / "image0.png") == 9
    ).all()
    assert run("--source", "http://silent/", "--out", tmp_path / "new") == 2
    assert not (tmp_path / "new").exists()


def test_an_out_that_cannot_be_written_is_named_before_the_source_opens(
    script, run, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(script.stream, "Video", lambda source: pytest.fail("opened"))
    (tmp_path / "out").write_text("a file")
    assert run("--source", 0, "--out", tmp_path / "out") == 2
    assert "must be a folder to write to" in capsys.readouterr().err
