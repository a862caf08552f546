import csv

import cv2
import numpy as np
import pytest

from fer_jax import faces, labels
from fer_jax.errors import InputError
from fer_jax.video import record, watch


def frame(level, size=(48, 64)):
    return np.full((*size, 3), level, np.uint8)


def levels(path):
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found = []
    while True:
        whole, picture = capture.read()
        if not whole:
            return found
        found.append(round(picture.mean() / 10))


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".MP4"])
def test_a_video_plays_what_was_written(tmp_path, suffix):
    path = tmp_path / f"video{suffix}"
    with record.VideoFile(path, 25.0) as video:
        for index in range(20):
            video.write(100 + index / 25, frame(10 * index))
        assert not path.exists()
    assert levels(path) == list(range(20))
    assert list(tmp_path.iterdir()) == [path]


def test_gaps_go_on_showing_the_last_frame_and_crowds_are_thinned(tmp_path):
    path = tmp_path / "video.mp4"
    with record.VideoFile(path, 10.0) as video:
        for moment, level in ((0.0, 0), (0.1, 1), (0.5, 5), (0.52, 6), (0.54, 7), (0.6, 8)):
            video.write(moment, frame(10 * level))
    assert levels(path) == [0, 1, 1, 1, 1, 5, 8]


def test_a_video_is_kept_whatever_ends_it(tmp_path):
    path = tmp_path / "video.mp4"
    with pytest.raises(KeyboardInterrupt), record.VideoFile(path, 25.0) as video:
        video.write(0.0, frame(50))
        raise KeyboardInterrupt
    assert levels(path) == [5]


def test_without_a_frame_there_is_no_video(tmp_path):
    (tmp_path / "old.mp4").write_text("old")
    with record.VideoFile(tmp_path / "new.mp4", 25.0), record.VideoFile(tmp_path / "old.mp4", 25.0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_text() == "old"


def test_a_stream_that_changes_its_size_is_fitted(tmp_path):
    path = tmp_path / "video.mp4"
    with record.VideoFile(path, 25.0) as video:
        video.write(0.0, frame(50))
        video.write(0.04, frame(100, (96, 128)))
    assert levels(path) == [5, 10]


def test_a_rate_that_no_container_holds_is_bounded(tmp_path):
    path = tmp_path / "video.mp4"
    with record.VideoFile(path, 90_000.0) as video:
        for index in range(6):
            video.write(index / 60, frame(10 * index))
    assert levels(path) == list(range(6))


def test_a_video_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    class Writer:
        fourcc = cv2.VideoWriter.fourcc
        __init__ = lambda self, *_: None
        isOpened = lambda self: False

    monkeypatch.setattr(cv2, "VideoWriter", Writer)
    with (
        pytest.raises(InputError, match="cannot write 64x48 video"),
        record.VideoFile(tmp_path / "a.mp4", 25.0) as video,
    ):
        video.write(0.0, frame(0))
    assert list(tmp_path.iterdir()) == []


def event(moment, *people):
    probabilities = np.array([0.1, 0, 0.05, 0.6, 0.2, 0.05, 0], np.float32)
    predictions = [
        watch.Prediction("happy", 0.6, probabilities, faces.Face(1, 2, 3, 4), person)
        for person in people
    ]
    return watch.Event(moment, tuple(predictions), frame(0), True, moment)


def test_a_table_is_whole_after_every_row(tmp_path):
    path = tmp_path / "faces.csv"
    with record.Table(path, labels.EMOTIONS) as table:
        header = path.read_text()
        for number, looked in enumerate(
            (event(1_700_000_000.25, 2, 1), event(1.0), event(2.0, 3)), 1
        ):
            table.write(looked)
            assert path.read_text().endswith("\n")
            assert len(path.read_text().splitlines()) == (3, 4, 5)[number - 1]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert header == "time,person,x,y,w,h," + ",".join(labels.EMOTIONS) + ",emotion,confidence\n"
    empty = rows.pop(2)
    assert empty.pop("time") == "1.000" and set(empty.values()) == {""}  # a look without a face
    assert [(float(row["time"]), int(row["person"])) for row in rows] == [
        (1_700_000_000.25, 1),
        (1_700_000_000.25, 2),
        (2, 3),
    ]
    assert all(
        float(row["happy"]) == 0.6 and row["emotion"] == "happy" and float(row["confidence"]) == 0.6
        for row in rows
    )
    assert all([row[name] for name in "xywh"] == ["1", "2", "3", "4"] for row in rows)


HAPPY, SAD = [0.1, 0.0, 0.05, 0.7, 0.05, 0.06, 0.04], [0.1, 0.05, 0.05, 0.1, 0.45, 0.05, 0.2]
LEFT, RIGHT = faces.Face(20, 10, 24, 24), faces.Face(110, 12, 20, 28)


def test_a_table_with_valence_has_a_row_for_each_face_and_one_for_a_look_without(recorded):
    path, _ = recorded([[(LEFT, HAPPY), (RIGHT, SAD)], [], [(LEFT, SAD)]], [0.0, 0.5, 1.0004])
    with path.open(newline="") as file:
        header, first, second, nobody, last = csv.reader(file)
    names = "angry,disgust,fear,happy,sad,surprise,neutral"
    expected = f"time,person,x,y,w,h,{names},emotion,confidence,valence"
    assert header == expected.split(",")
    numbers = [f"{value:.5f}" for value in HAPPY]
    # .7 - .1 - .05 - .05
    assert first == ["0.000", "1", "20", "10", "24", "24", *numbers, "happy", "0.70000", "0.50000"]
    assert second[:6] == ["0.000", "2", "110", "12", "20", "28"]
    assert second[-3:] == ["sad", "0.45000", "-0.55000"]
    assert nobody == ["0.500"] + [""] * 15
    assert last[:2] == ["1.000", "1"]


def test_require_writable(tmp_path):
    record.require_writable(tmp_path / "new" / "a.csv")
    source, link = tmp_path / "a.mp4", tmp_path / "b.mp4"
    source.write_text("video")
    link.symlink_to(source)
    record.require_writable(source, tmp_path / "other.mp4")
    assert source.read_text() == "video"
    for path, match in (
        (source, "another file than the source"),
        (link, "another file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(InputError, match=match):
            record.require_writable(path, str(source))
    assert not (tmp_path / "new").exists()
    with pytest.raises(
        InputError, match=r"a\.mp4: must be a folder to write to, but .*a\.mp4 is a file"
    ):
        record.require_writable(source / "a.csv")


def test_a_video_that_lost_frames_is_refused_and_replaces_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.avi"
    path.write_text("earlier")
    put = record.VideoFile._put

    def full_after_two(self, frame):
        if self._written < 2:
            return put(self, frame)
        self._written += 1

    monkeypatch.setattr(record.VideoFile, "_put", full_after_two)
    with (
        pytest.raises(InputError, match=r"a\.avi: the video could not be written whole"),
        record.VideoFile(path, 10) as video,
    ):
        for number in range(5):
            video.write(number / 10, frame(number))
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_a_clock_that_jumps_does_not_fill_the_disk(tmp_path):
    path = tmp_path / "video.avi"
    with record.VideoFile(path, 2.0) as video:
        for moment in (0.0, 0.5, 1e6, 1e6 + 0.5):
            video.write(moment, frame(0))
    assert len(levels(path)) == 2 + 60 * 2 + 2


def test_a_path_that_is_no_unicode_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be valid UTF-8"):
        record.require_codec(tmp_path / "\udcff" / "a.mp4")
