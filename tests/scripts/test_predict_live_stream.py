import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.tree_util import Partial

from fer_jax import cli, data, faces, labels
from fer_jax.errors import InputError
from fer_jax.video import overlay, stream

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "predict_live_stream.py"
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
MODEL = ROOT / "results" / "model" / "my_own_model.pkl"
EMOTIONS = "|".join(name.capitalize() for name in labels.EMOTIONS)
EVENT = (
    rf"Preprocessing \.\.\.\n(\d\d:\d\d:\d\d)s : (?:no face|(?:{EMOTIONS}) , (?:100|\d?\d)%)\n\n"
)


HAPPY = np.array([0.01, 0, 0.02, 0.734, 0.006, 0.03, 0.2], np.float32)
SAD = np.array([0.01, 0, 0.02, 0.15, 0.61, 0.01, 0.2], np.float32)
BOXES = [faces.Box(200, 100, 100, 100), faces.Box(20, 20, 60, 60)]


def fake_predictor(batch):
    assert batch.shape[1:] == (48, 48) and batch.dtype == np.uint8
    return np.stack([HAPPY, SAD])[: len(batch)]


@pytest.fixture
def script(load_script, monkeypatch):
    module = load_script("scripts/predict_live_stream.py")
    monkeypatch.setattr(module, "load_predictor", lambda model: fake_predictor)
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: BOXES[:1])
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
    seconds = "".join(
        f"Preprocessing ...\n00:00:{second:02d}s : Happy , 73%\n\n" for second in range(21)
    )
    assert out == "Reading video stream ...\n\n" + seconds
    assert err == ""


def test_no_face_is_said(script, run, monkeypatch, capsys):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    assert run("--source", CLIP, "--fast", "--every", 10) == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : no face\n\n" for second in ("00", "10", "20")
    )
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events


@pytest.fixture
def two_faces(monkeypatch):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: BOXES)


def test_looks_without_a_face_are_rows_with_their_time_alone(run, hacked, monkeypatch, tmp_path):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    assert (
        run(
            "--source",
            CLIP,
            "--fast",
            "--every",
            10,
            "--csv",
            tmp_path / "faces.csv",
            "--hack",
            "sad",
        )
        == 0
    )
    table = pd.read_csv(tmp_path / "faces.csv")
    assert list(table.time) == [0, 10, 20]
    assert table.drop(columns="time").isna().all(axis=None)


def test_several_faces_have_a_line_each(run, two_faces, capsys):
    assert run("--source", CLIP, "--fast", "--every", 10) == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : person 1 : Happy , 73%\n00:00:{second}s : person 2 : Sad , 61%\n\n"
        for second in ("00", "10", "20")
    )
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events


def test_all_faces_numbers_a_single_one(run, capsys):
    assert run("--source", CLIP, "--fast", "--every", 30, "--all-faces") == 0
    assert capsys.readouterr().out.endswith(
        "Preprocessing ...\n00:00:00s : person 1 : Happy , 73%\n\n"
    )


def test_little_confidence_is_said(run, capsys):
    assert run("--source", CLIP, "--fast", "--every", 30, "--min-confidence", 0.8) == 0
    assert capsys.readouterr().out.endswith("Preprocessing ...\n00:00:00s : uncertain , 73%\n\n")


def test_the_table_has_a_row_per_face_and_line(run, two_faces, tmp_path, capsys):
    path = tmp_path / "new" / "faces.csv"
    assert run("--source", CLIP, "--fast", "--every", 10, "--csv", path) == 0
    table = pd.read_csv(path)
    assert list(table) == [
        "time",
        "person",
        "x",
        "y",
        "w",
        "h",
        *labels.EMOTIONS,
        "emotion",
        "confidence",
    ]
    assert list(table.time) == [0, 0, 10, 10, 20, 20]
    assert list(table.person) == [1, 2] * 3
    assert table[["x", "y", "w", "h"]].to_numpy().tolist() == [list(box[:4]) for box in BOXES] * 3
    np.testing.assert_allclose(table[list(labels.EMOTIONS)], [HAPPY, SAD] * 3, atol=1e-4)
    assert list(table.emotion) == ["happy", "sad"] * 3
    np.testing.assert_allclose(table.confidence, [0.734, 0.61] * 3, atol=1e-4)


def test_the_saved_video_shows_every_frame_and_lines_keep_to_the_period(
    run, two_faces, tmp_path, capsys
):
    path = tmp_path / "annotated.mp4"
    assert run("--source", CLIP, "--fast", "--save", path, "--max-seconds", 2) == 0
    assert re.findall(r"(\S+)s : person 1", capsys.readouterr().out) == ["00:00:00", "00:00:01"]
    with stream.Video(path) as saved, stream.Video(CLIP) as clip:
        assert saved.rate == pytest.approx(clip.rate)
        pairs = list(zip(saved.frames(), clip.frames(), strict=False))
    assert len(pairs) == 2 * clip.rate
    for (moment, frame), (original_moment, original) in pairs:
        assert moment == pytest.approx(original_moment, abs=1e-3)
        # the same picture
        assert np.abs(frame[250:, :150].astype(int) - original[250:, :150]).mean() < 6
        assert np.abs(frame[101, 205:295] - overlay.colour(1)).mean() < 40  # a box upon it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_playable_video_and_a_whole_table(
    usual_signals, run, monkeypatch, tmp_path, number
):
    looks = iter(range(20))

    def interrupted(frame):
        if next(looks) == 19:
            signal.raise_signal(number)
        return BOXES

    monkeypatch.setattr(faces, "detector", lambda kind, model: interrupted)
    video, table = tmp_path / "annotated.avi", tmp_path / "faces.csv"
    assert run("--source", CLIP, "--fast", "--save", video, "--csv", table) == 128 + number
    with stream.Video(video) as saved:
        assert len(list(saved.frames())) == 19
    assert len(pd.read_csv(table)) == 4  # looks at 0 and 1 seconds, two faces each
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotated.avi", "faces.csv"]


@pytest.fixture
def hacked(script, monkeypatch):
    """The perturbation adds ten levels, and the network is happy about faces unless they are that
    much brighter.
    """
    asked, seen = [], []

    def fit_perturbation(predictor, emotion, eps):
        asked.append((emotion, eps))
        return np.full((48, 48), 9.6, np.float32)

    def predictor(batch):
        half = len(batch) // 2
        seen.append(len(batch))
        np.testing.assert_array_equal(batch[half:], np.minimum(batch[:half].astype(int) + 10, 255))
        return np.stack([HAPPY] * half + [SAD] * half)

    monkeypatch.setattr(script, "load_predictor", lambda model: predictor)
    monkeypatch.setattr(script, "fit_perturbation", fit_perturbation)
    return asked, seen


def test_a_hacked_face_is_said_beside_the_face_as_it_is(run, hacked, capsys):
    assert run("--source", CLIP, "--fast", "--every", 10, "--hack", "Sad") == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : Happy , 73%  hacked : Sad , 61%\n\n"
        for second in ("00", 10, 20)
    )
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events
    # the first compiles; then both faces of a look in one batch
    assert hacked == ([("sad", 8 / 255)], [2, 2, 2, 2])


def test_several_hacked_faces_are_smoothed_and_kept_one_by_one(
    run, hacked, two_faces, tmp_path, capsys
):
    table, video = tmp_path / "faces.csv", tmp_path / "annotated.mp4"
    options = [
        "--csv",
        table,
        "--save",
        video,
        "--max-seconds",
        1,
        "--smooth",
        0.5,
        "--min-confidence",
        0.7,
    ]
    assert run("--source", CLIP, "--fast", "--hack", "sad", "--eps", "4/255", *options) == 0
    lines = [
        f"00:00:00s : person {person} : Happy , 73%  hacked : uncertain , 61%" for person in (1, 2)
    ]
    assert "\n".join(lines) in capsys.readouterr().out
    rows = pd.read_csv(table)
    names = [*labels.EMOTIONS, *(f"hacked_{name}" for name in labels.EMOTIONS)]
    assert list(rows) == ["time", "person", "x", "y", "w", "h", *names, "emotion", "confidence"]
    np.testing.assert_allclose(rows[names], [[*HAPPY, *SAD]] * 2, atol=1e-4)
    assert list(rows.emotion) == ["happy"] * 2
    assert hacked[0] == [("sad", 4 / 255)]
    with stream.Video(video) as saved:
        _, frame = next(saved.frames())
    # of the first face's box; the label is of its colour
    below = frame[200:210, 202:280].reshape(-1, 3)
    assert np.abs(np.median(below, axis=0) - overlay.colour(1)).max() < 40


def test_no_face_cannot_be_hacked(run, hacked, monkeypatch, capsys):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    assert run("--source", CLIP, "--fast", "--every", 30, "--hack", "sad", "--smooth", 1) == 0
    assert capsys.readouterr().out.endswith("00:00:00s : no face\n\n")


def linear(weights, images):
    return jnp.einsum("bijc,ijk->bk", images, weights)


def test_the_perturbation_is_fitted_to_the_shipped_faces_or_the_training_images(
    script, monkeypatch, tmp_path, capsys
):
    """Of a linear network the one best perturbation is the sign of the target's weights less the
    strongest other's.
    """
    monkeypatch.chdir(tmp_path)
    weights = np.zeros((48, 48, 7), np.float32)
    weights[:, :, 4] = np.where(np.random.default_rng(0).random((48, 48)) < 0.5, -1, 1)
    weights[:, :, 3] = 1.0  # happy if it is bright
    network = SimpleNamespace(logits_fn=Partial(linear, weights), emotions=labels.EMOTIONS)
    change = script.fit_perturbation(network, "sad", 2 / 255)
    assert "--hack: fitting a perturbation to 21 shipped faces ..." in capsys.readouterr().err
    against = weights[:, :, 4] - weights[:, :, 3]
    assert (np.sign(change) == np.sign(against))[against != 0].all() and np.abs(
        change
    ).max() <= 2 + 1e-4
    images = np.random.default_rng(0).integers(0, 256, (2100, 48, 48), np.uint8)
    monkeypatch.setattr(
        data, "load", lambda folder: SimpleNamespace(train=SimpleNamespace(images=images))
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fer2013.csv").touch()
    taken, which = script.faces_to_fit()
    assert len(taken) == 2000 and which == "training images"
    with pytest.raises(
        InputError, match="--hack: unknown emotion 'joy': the network tells angry, "
    ):
        script.fit_perturbation(network, "joy", 2 / 255)


def test_broken_training_images_are_said_and_not_replaced_by_the_shipped_faces(
    script, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").touch()
    assert script.faces_to_fit()[1] == "shipped faces"
    (tmp_path / "data" / "fer2013.csv").write_text("emotion,pixels,Usage\n7,0 0 0,Training\n")
    with pytest.raises(InputError, match=r"fer2013\.csv:1: "):
        script.faces_to_fit()


@pytest.mark.parametrize("arguments", [("--eps", "0.1"), ("--hack", "sad", "--eps", "8")])
def test_an_eps_without_a_hack_or_above_one_is_refused(run, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, *arguments)
    assert "--eps goes with --hack and must be at most 1" in capsys.readouterr().err


class Window:
    """In place of a window on a screen; the user closes it at the third frame."""

    shown: ClassVar[list] = []

    def __init__(self, title):
        assert title == str(CLIP)

    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None

    def rate(self):
        return 25.0

    def show(self, frame):
        self.shown.append(frame)
        return len(self.shown) < 3

    def wait(self):
        return False


def test_display_ends_at_the_users_wish_while_nothing_comes(run, monkeypatch, capsys):
    """A camera that opens, gives one frame and then hangs."""
    monkeypatch.setattr(overlay, "require_screen", lambda: None)
    monkeypatch.setattr(
        overlay, "Window", type("Quiet", (Window,), {"__init__": lambda *_: None, "shown": []})
    )
    released = threading.Event()

    class Camera:
        grabbed = 0

        def grab(self):
            self.grabbed += 1
            return self.grabbed <= 2 or not released.wait(10)

        get = lambda self, _: 0.0
        retrieve = lambda self: (True, np.zeros((384, 512, 3), np.uint8))
        release = lambda self: None

    monkeypatch.setattr(stream, "_open", lambda source: Camera())
    closing = stream.Video.close
    monkeypatch.setattr(stream.Video, "close", lambda video: (released.set(), closing(video)))
    assert run("--source", 0, "--display") == 0
    assert len(re.findall(EVENT, capsys.readouterr().out)) == 1


def test_display_shows_every_frame_until_it_is_closed(run, monkeypatch, capsys):
    monkeypatch.setattr(overlay, "require_screen", lambda: None)
    monkeypatch.setattr(overlay, "Window", Window)
    assert run("--source", CLIP, "--fast", "--display") == 0
    assert len(Window.shown) == 3 and all(frame.shape == (384, 512, 3) for frame in Window.shown)
    assert len(re.findall(EVENT, capsys.readouterr().out)) == 1


def test_bad_output_is_said_before_anything_is_opened(run, tmp_path, capsys):
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(CLIP.read_bytes())
    occupied = tmp_path / "file"
    occupied.touch()
    for arguments, message in (
        (
            ["--save", tmp_path / "video.gif"],
            r"video\.gif: a video's name must end in \.mp4 or \.avi, received '\.gif'",
        ),
        (["--save", copy], r"clip\.mp4: must be another file than the source"),
        (["--csv", copy], r"clip\.mp4: must be another file than the source"),
        (["--csv", tmp_path], "must be a file to write, but is a folder"),
        (
            ["--csv", occupied / "faces.csv"],
            r"file: must be a folder to write to, but .*file is a file",
        ),
        (["--csv", tmp_path / "a.mp4", "--save", tmp_path / "a.mp4"], "must be two files"),
    ):
        assert run("--source", copy, *arguments) == 2
        out, err = capsys.readouterr()
        assert out == "" and re.fullmatch(rf"error: .*{message}.*\n", err)
    assert copy.read_bytes() == CLIP.read_bytes()
    assert sorted(tmp_path.iterdir()) == [copy, occupied]


def test_bad_input_leaves_no_output(run, tmp_path, capsys):
    assert (
        run(
            "--source",
            tmp_path / "gone.mp4",
            "--save",
            tmp_path / "a.mp4",
            "--csv",
            tmp_path / "a.csv",
        )
        == 2
    )
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_detector_file_is_refused(run, script, monkeypatch, tmp_path, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(script, "load_predictor", lambda model: fake_predictor)
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(b"no network")
    words = [
        "predict_live_stream.py",
        "--source",
        str(CLIP),
        "--detector",
        "yunet",
        "--detector-model",
        str(wrong),
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.run(script.main) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"error: .*yunet\.onnx: .*\n", err)


def test_max_seconds_ends_early(run, capsys):
    assert run("--source", CLIP, "--fast", "--max-seconds", 3) == 0
    assert re.findall(EVENT, capsys.readouterr().out) == ["00:00:00", "00:00:01", "00:00:02"]


def test_every_sets_the_period(run, capsys):
    assert run("--source", CLIP, "--fast", "--every", 0.5, "--max-seconds", 1.5) == 0
    assert re.findall(EVENT, capsys.readouterr().out) == ["00:00:00", "00:00:00", "00:00:01"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("camera 0: must be a camera that is connected, but there is no /dev/video0", "no camera"),
        ("camera 0: must be a camera that is free", "camera 0: must be a camera that is free"),
    ],
)
def test_without_a_camera_the_clip_is_played(script, run, monkeypatch, capsys, error, said):
    opened = []

    class Video(stream.Video):
        def __init__(self, source):
            opened.append(source)
            if source == 0:
                raise InputError(error)
            super().__init__(source)

    monkeypatch.setattr(stream, "Video", Video)
    assert run("--fast") == 0
    out, err = capsys.readouterr()
    assert opened == [0, CLIP]
    assert len(re.findall(EVENT, out)) == 21
    assert err == f"{said}: playing {CLIP}\n"


def test_a_camera_shows_the_clock(script, run, monkeypatch, capsys):
    with stream.Video(CLIP) as video:
        frames = list(video.frames(10))

    class Camera:
        name = "camera 0"
        live = True
        __enter__ = lambda self: self
        __exit__ = lambda self, *_: None

        def frames(self, every, idle):
            for second, (_, frame) in enumerate(frames):
                yield float(second), frame

        def clock_time(self, moment):
            return 1_700_000_000.0 + moment

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

    monkeypatch.setattr(faces, "detector", lambda kind, model: interrupted)
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


@pytest.mark.parametrize("option", ["--every", "--max-seconds", "--smooth"])
def test_a_bad_period_is_refused(run, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, option, "0")
    assert (
        f"argument {option}: must be a finite number of seconds above 0, at least 0.001, got '0'"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "each"), [([], False), (["--smooth", 0.5], True), (["--save", "a.avi"], True)]
)
def test_an_average_over_time_takes_every_frame(run, monkeypatch, tmp_path, options, each):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        stream, "watch", lambda *_, each_frame, **__: asked.append(each_frame) or iter(())
    )
    assert run("--source", CLIP, *options) == 0
    assert asked == [each]


def test_a_confidence_out_of_range_is_refused(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--source", CLIP, "--min-confidence", "31")
    assert (
        "argument --min-confidence: must be a number from 0 to 1, got '31'"
        in capsys.readouterr().err
    )


@pytest.fixture
def shipped_command():
    if not MODEL.is_file():
        pytest.skip(f"needs the shipped model: {MODEL}")
    return [sys.executable, str(SCRIPT), "--source", str(CLIP)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def test_the_real_script_with_the_shipped_model(shipped_command):
    done = subprocess.run(
        [*shipped_command, "--fast"], capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n(?:{EVENT}){{21}}", done.stdout)
    assert "no face" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_real_script_ends_on_ctrl_c(usual_signals, shipped_command):
    process = subprocess.Popen(
        shipped_command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    # flushed line by line, or this would wait for the end
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n{EVENT}", "".join(lines))
    assert (process.returncode, err) == (130, "interrupted\n")
