import re
import signal
import threading
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from fer_jax import faces, labels, predict
from fer_jax.errors import InputError
from fer_jax.video import capture, hacked, live, overlay, times

EMOTIONS = "|".join(name.capitalize() for name in labels.EMOTIONS)
SAID = rf"(?:no face|(?:{EMOTIONS}) , (?:100|\d?\d)%)"
EVENT = rf"Preprocessing \.\.\.\n(\d\d:\d\d:\d\d)s : {SAID}\n\n"
HAPPY = np.array([0.01, 0, 0.02, 0.734, 0.006, 0.03, 0.2], np.float32)
SAD = np.array([0.01, 0, 0.02, 0.15, 0.61, 0.01, 0.2], np.float32)
BOXES = [faces.Face(200, 100, 100, 100), faces.Face(20, 20, 60, 60)]
CLIP = live.CLIP


class Network:
    """A predictor that answers by a function."""

    emotions = labels.EMOTIONS

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, batch):
        assert batch.shape[1:] == (48, 48) and batch.dtype == np.uint8
        return self.answer(batch)


@pytest.fixture
def network(monkeypatch):
    answer = lambda batch: np.stack([HAPPY, SAD])[: len(batch)]
    monkeypatch.setattr(predict, "Predictor", lambda model: Network(answer))


@pytest.fixture
def run(run_script, network, root, monkeypatch):
    """The script, at the checkout's top, with a network and a detector that find the same faces."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: BOXES[:1])
    return lambda *arguments: run_script("predict_live_stream", *arguments)


def test_output_has_the_exact_form(run, capsys):
    assert run("--source", CLIP, "--fast") == 0
    out, err = capsys.readouterr()
    seconds = "".join(
        f"Preprocessing ...\n00:00:{second:02d}s : Happy , 73%\n\n" for second in range(21)
    )
    assert out == "Reading video stream ...\n\n" + seconds
    assert err == ""


def test_no_face_is_said(run, monkeypatch, capsys):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    assert run("--source", CLIP, "--fast", "--every", 10) == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : no face\n\n" for second in ("00", "10", "20")
    )
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events


@pytest.fixture
def two_faces(monkeypatch):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: BOXES)


def test_looks_without_a_face_are_rows_with_their_time_alone(run, hack, monkeypatch, tmp_path):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    path = tmp_path / "faces.csv"
    assert run("--source", CLIP, "--fast", "--every", 10, "--csv", path, "--hack", "sad") == 0
    table = pd.read_csv(path)
    assert list(table.time) == [0, 10, 20]
    assert table.drop(columns="time").isna().all(axis=None)


def test_several_faces_have_a_line_each(run, two_faces, capsys):
    assert run("--source", CLIP, "--fast", "--every", 10) == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : person 1 : Happy , 73%\n"
        f"00:00:{second}s : person 2 : Sad , 61%\n\n"
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
    names = [*labels.EMOTIONS, "emotion", "confidence"]
    assert list(table) == ["time", "person", "x", "y", "w", "h", *names]
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
    with capture.Video(path) as saved, capture.Video(CLIP) as clip:
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
    with capture.Video(video) as saved:
        assert len(list(saved.frames())) == 19
    assert len(pd.read_csv(table)) == 4  # looks at 0 and 1 seconds, two faces each
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotated.avi", "faces.csv"]


@pytest.fixture
def hack(monkeypatch):
    """The perturbation adds ten levels, and the network is happy about faces unless they are that
    much brighter.
    """
    asked, seen = [], []

    def fit_perturbation(predictor, emotion, eps, folder):
        asked.append((emotion, eps))
        return np.full((48, 48), 9.6, np.float32)

    def answer(batch):
        half = len(batch) // 2
        seen.append(len(batch))
        np.testing.assert_array_equal(batch[half:], np.minimum(batch[:half].astype(int) + 10, 255))
        return np.stack([HAPPY] * half + [SAD] * half)

    monkeypatch.setattr(predict, "Predictor", lambda model: Network(answer))
    monkeypatch.setattr(hacked, "fit_perturbation", fit_perturbation)
    return asked, seen


def test_a_hacked_face_is_said_beside_the_face_as_it_is(run, hack, capsys):
    assert run("--source", CLIP, "--fast", "--every", 10, "--hack", "Sad") == 0
    events = "".join(
        f"Preprocessing ...\n00:00:{second}s : Happy , 73%  hacked : Sad , 61%\n\n"
        for second in ("00", 10, 20)
    )
    assert capsys.readouterr().out == "Reading video stream ...\n\n" + events
    # the first compiles; then both faces of a look in one batch
    assert hack == ([("sad", 8 / 255)], [2, 2, 2, 2])


def test_several_hacked_faces_are_smoothed_and_kept_one_by_one(
    run, hack, two_faces, tmp_path, capsys
):
    table, video = tmp_path / "faces.csv", tmp_path / "annotated.mp4"
    hacking = ["--hack", "sad", "--eps", "4/255", "--smooth", 0.5, "--min-confidence", 0.7]
    outputs = ["--csv", table, "--save", video, "--max-seconds", 1]
    assert run("--source", CLIP, "--fast", *hacking, *outputs) == 0
    said = "Happy , 73%  hacked : uncertain , 61%"
    lines = f"00:00:00s : person 1 : {said}\n00:00:00s : person 2 : {said}"
    assert lines in capsys.readouterr().out
    rows = pd.read_csv(table)
    names = [*labels.EMOTIONS, *(f"hacked_{name}" for name in labels.EMOTIONS)]
    assert list(rows) == ["time", "person", "x", "y", "w", "h", *names, "emotion", "confidence"]
    np.testing.assert_allclose(rows[names], [[*HAPPY, *SAD]] * 2, atol=1e-4)
    assert list(rows.emotion) == ["happy"] * 2
    assert hack[0] == [("sad", 4 / 255)]
    with capture.Video(video) as saved:
        _, frame = next(saved.frames())
    # of the first face's box; the label is of its colour
    below = frame[200:210, 202:280].reshape(-1, 3)
    assert np.abs(np.median(below, axis=0) - overlay.colour(1)).max() < 40


def test_no_face_cannot_be_hacked(run, hack, monkeypatch, capsys):
    monkeypatch.setattr(faces, "detector", lambda kind, model: lambda frame: [])
    assert run("--source", CLIP, "--fast", "--every", 30, "--hack", "sad", "--smooth", 1) == 0
    assert capsys.readouterr().out.endswith("00:00:00s : no face\n\n")


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
    quiet = type("Quiet", (Window,), {"__init__": lambda *_: None, "shown": []})
    monkeypatch.setattr(overlay, "Window", quiet)
    released = threading.Event()

    class Camera:
        grabbed = 0

        def grab(self):
            self.grabbed += 1
            return self.grabbed <= 2 or not released.wait(10)

        get = lambda self, _: 0.0
        retrieve = lambda self: (True, np.zeros((384, 512, 3), np.uint8))
        release = lambda self: None

    monkeypatch.setattr(capture, "open_capture", lambda source: Camera())
    closing = capture.Video.close
    monkeypatch.setattr(capture.Video, "close", lambda video: (released.set(), closing(video)))
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
    gif, csv, both = tmp_path / "video.gif", occupied / "faces.csv", tmp_path / "a.mp4"
    ending = r"video\.gif: a video's name must end in \.mp4 or \.avi, received '\.gif'"
    for arguments, message in (
        (["--save", gif], ending),
        (["--save", copy], r"clip\.mp4: must be another file than the source"),
        (["--csv", copy], r"clip\.mp4: must be another file than the source"),
        (["--csv", tmp_path], "must be a file to write, but is a folder"),
        (["--csv", csv], r"file: must be a folder to write to, but .*file is a file"),
        (["--csv", both, "--save", both], "must be two files"),
    ):
        assert run("--source", copy, *arguments) == 2
        out, err = capsys.readouterr()
        assert out == "" and re.fullmatch(rf"error: .*{message}.*\n", err)
    assert copy.read_bytes() == CLIP.read_bytes()
    assert sorted(tmp_path.iterdir()) == [copy, occupied]


def test_bad_input_leaves_no_output(run, tmp_path, capsys):
    outputs = ["--save", tmp_path / "a.mp4", "--csv", tmp_path / "a.csv"]
    assert run("--source", tmp_path / "gone.mp4", *outputs) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


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
def test_without_a_camera_the_clip_is_played(run, monkeypatch, capsys, error, said):
    opened = []

    class Video(capture.Video):
        def __init__(self, source):
            opened.append(source)
            if source == 0:
                raise InputError(error)
            super().__init__(source)

    monkeypatch.setattr(live, "Video", Video)
    assert run("--fast") == 0
    out, err = capsys.readouterr()
    assert opened == [0, live.CLIP]
    assert len(re.findall(EVENT, out)) == 21
    assert err == f"{said}: playing {live.CLIP}\n"


def test_a_camera_shows_the_clock(run, monkeypatch, capsys):
    with capture.Video(CLIP) as video:
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

    monkeypatch.setattr(live, "Video", lambda source: Camera())
    assert run() == 0
    out, err = capsys.readouterr()
    stamps = [times.time_of_day(1_700_000_000 + second, live=True) for second in range(3)]
    assert re.findall(EVENT, out) == stamps
    assert re.fullmatch(rf"Reading video stream \.\.\.\n\n(?:{EVENT}){{3}}", out)
    assert err == ""


def test_ctrl_c_ends_without_a_traceback_and_closes_the_source(run, monkeypatch, capsys):
    closed = []

    def interrupted(frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(faces, "detector", lambda kind, model: interrupted)
    monkeypatch.setattr(capture.Video, "close", lambda self: closed.append(self.name))
    assert run("--source", CLIP) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("Reading video stream ...\n\n", "interrupted\n")
    assert closed == [str(CLIP)]


def test_a_bad_source_leaves_stdout_empty(run, tmp_path, capsys):
    assert run("--source", tmp_path / "gone.mp4") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .*gone\.mp4: cannot be read: No such file or directory\n", err)


@pytest.mark.parametrize(
    ("options", "each"), [([], False), (["--smooth", 0.5], True), (["--save", "a.avi"], True)]
)
def test_an_average_over_time_takes_every_frame(run, root, monkeypatch, tmp_path, options, each):
    monkeypatch.chdir(tmp_path)
    asked = []

    def watch(*_, each_frame, **__):
        asked.append(each_frame)
        return iter(())

    monkeypatch.setattr(live, "watch", watch)
    assert run("--source", root / CLIP, *options) == 0
    assert asked == [each]


def test_a_wrong_detector_file_is_refused(run_script, network, root, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(root)
    wrong = tmp_path / "yunet.onnx"
    wrong.write_bytes(b"no network")
    detector = ("--detector", "yunet", "--detector-model", wrong)
    assert run_script("predict_live_stream", "--source", CLIP, *detector) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"error: .*yunet\.onnx: .*\n", err)
