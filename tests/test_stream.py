import argparse
import itertools
import math
from datetime import datetime
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_jax import faces, stream
from fer_jax.errors import InputError

RATES = (7.5, 12.5, 23.976, 25, 29.97, 60)


def write_video(path, frames, rate):
    """A video whose frame k has the grey level 8 * k modulo 240."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 8 * index % 240, np.uint8))
    writer.release()
    return path


class Clock:
    """Time that passes only when somebody sleeps or `advance`s it."""

    def __init__(self):
        self.now = 1000.0

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    fake = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now, sleep=clock.advance)
    monkeypatch.setattr(stream, "time", fake)
    return clock


class Camera:
    """A driver that keeps the newest `kept` frames, each made every 40 ms; a frame's pixels are its number."""

    def __init__(self, clock, kept=4, frames=10_000):
        self.clock, self.kept, self.frames = clock, kept, frames
        self.start, self.number, self.released = clock.now, -1, False

    def grab(self):
        newest = math.floor((self.clock.now - self.start) / 0.04 + 1e-9)
        self.number = max(self.number + 1, newest - self.kept + 1)
        due = self.start + self.number * 0.04
        self.clock.advance(max(0.0, due - self.clock.now) + 1e-4)
        return self.number < self.frames

    def retrieve(self):
        return True, np.full((4, 4, 3), self.number, np.int32)

    def get(self, _):
        return 0.0

    def set(self, *_):
        return False

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch, clock):
    camera = Camera(clock)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    return camera


@given(rate=st.sampled_from(RATES), frames=st.integers(1, 900), every=st.sampled_from((1.0, 0.5, 2.0, 0.2, 3.7)))
def test_sample_count_is_the_closed_form(rate, frames, every):
    times = [round(1000 * index / rate, 3) / 1000 for index in range(frames)]  # as a container in milliseconds gives them
    samples = list(stream.sample(times, every))
    assert len(samples) == math.floor((frames - 1) / (rate * every) + 1e-6) + 1
    for period, moment in enumerate(samples):
        assert -1e-6 <= moment - period * every < 1 / rate + 1e-3  # the first frame of its period


@pytest.mark.parametrize("rate", RATES)
def test_twenty_seconds_give_twenty_or_twenty_one_samples(rate):
    for frames in (math.floor(20 * rate), math.ceil(20 * rate) + 1):
        assert len(list(stream.sample((index / rate for index in range(frames)), 1.0))) in (20, 21)


def test_sample_counts_periods_from_the_first_frame_and_leaves_gaps_out():
    assert list(stream.sample([100.7, 101.2, 101.7, 101.9, 104.8, 105.6, 105.8], 1)) == [100.7, 101.7, 104.8, 105.8]


def test_sample_of_every_frame():
    assert list(stream.sample([0.0, 0.1, 0.2], 0)) == [0.0, 0.1, 0.2]
    assert list(stream.sample([], 1)) == []


@given(st.lists(st.floats(0, 100), max_size=50))
def test_increasing_times_increase(positions):
    times = list(stream.increasing(positions, 0.04))
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert len(times) == len(positions)


def test_increasing_keeps_good_times_and_counts_frames_without():
    assert list(stream.increasing([0.0, 0.5, 0.9], 0.04)) == [0.0, 0.5, 0.9]
    np.testing.assert_allclose(list(stream.increasing([0.0] * 5, 0.04)), np.arange(5) * 0.04)


@pytest.mark.parametrize("rate", [12.5, 23.976, 25, 29.97])
def test_recording_gives_the_right_frame_at_the_right_time(tmp_path, rate):
    path = write_video(tmp_path / "video.mp4", 100, rate)
    with stream.Video(path) as video:
        assert not video.live
        assert video.duration == pytest.approx(100 / rate, rel=0.01)
        looks = list(video.frames(0.5))
    assert len(looks) == math.floor(99 / (rate * 0.5)) + 1
    for moment, frame in looks:
        index = round(moment * rate)
        assert moment == pytest.approx(index / rate, abs=2e-3)
        assert frame.shape == (48, 64, 3)
        assert frame.mean() == pytest.approx(8 * index % 240, abs=3.9)  # nearer to this frame than to the next


def test_recording_gives_every_frame_in_order(tmp_path):
    with stream.Video(str(write_video(tmp_path / "video.mp4", 30, 25))) as video:
        times = [moment for moment, _ in video.frames()]
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)


def test_a_file_whose_name_holds_digits_is_no_picture_sequence(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"image{index}.png"), np.zeros((48, 48), np.uint8))
    with stream.Video(tmp_path / "image0.png") as video:
        assert len(list(video.frames())) == 1


def test_what_is_no_video_is_named(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(write_video(tmp_path / "whole.mp4", 20, 25).read_bytes()[:300])
    for source in (text, tmp_path / "empty.mp4", cut):
        with pytest.raises(InputError, match=f"{source.name}: must be a camera or a video"):
            stream.Video(source)
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read: No such file"):
        stream.Video(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        stream.Video(tmp_path)
    with pytest.raises(InputError, match="camera 99: must be a camera"):
        stream.Video(99)
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x: must be"):
        stream.Video("http://127.0.0.1:9/x")


def test_camera_times_are_clock_times_one_a_second(camera, clock):
    with stream.Video(0) as video:
        assert video.live and video.duration is None
        frames = video.frames(1)
        times = [next(frames)[0] for _ in range(5)]
    np.testing.assert_allclose(np.diff(times), 1, atol=0.05)
    assert 1000 <= times[0] < 1000.1
    assert camera.released


@pytest.mark.parametrize("busy", [0.03, 0.7, 3.0])
def test_camera_gives_the_newest_frame_after_a_pause(camera, clock, busy):
    with stream.Video(0) as video:
        for moment, frame in video.frames(0.5):
            age = clock.now - (camera.start + int(frame[0, 0, 0]) * 0.04)
            assert age < 0.02 and clock.now - moment < 0.02
            if moment > 1020:
                break
            clock.advance(busy)


def test_camera_that_is_never_slow_is_not_starved(clock, monkeypatch):
    camera = Camera(clock, frames=1000)
    monkeypatch.setattr(camera, "grab", lambda: clock.advance(1e-4) or clock.now < 1005)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    with stream.Video(0) as video:
        assert len(list(video.frames(1))) == 5


def test_camera_that_is_pulled_out_ends_the_stream(clock, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Camera(clock, frames=60))
    with stream.Video(0) as video:
        assert len(list(video.frames(1))) == 3


def test_camera_without_a_frame_is_closed_and_named(clock, monkeypatch):
    camera = Camera(clock, frames=0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    with pytest.raises(InputError, match="camera 3: "):
        stream.Video(3)
    assert camera.released


def test_read_emotion_is_that_of_the_largest_face():
    frame = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    boxes = [faces.Box(0, 0, 20, 20), faces.Box(40, 40, 50, 50)]
    probabilities = np.array([0.1, 0, 0.05, 0.6, 0.2, 0.05, 0], np.float32)
    seen = []

    def predictor(batch):
        seen.append(batch)
        return probabilities[None]

    prediction = stream.read_emotion(frame, predictor, lambda _: boxes)
    assert prediction is not None
    assert (prediction.emotion, prediction.box) == ("happy", boxes[1])
    assert prediction.probability == pytest.approx(0.6)
    np.testing.assert_array_equal(prediction.probabilities, probabilities)
    np.testing.assert_array_equal(seen, [faces.crop(frame, boxes[1])[None]])
    assert stream.read_emotion(frame, predictor, lambda _: []) is None


@pytest.mark.parametrize(("real_time", "passed"), [(True, 2.0), (False, 0.0)])
def test_watch_plays_a_recording_at_its_own_speed_or_at_once(tmp_path, clock, real_time, passed):
    boxes = iter([[faces.Box(0, 0, 40, 40)], [], [faces.Box(0, 0, 40, 40)]])
    with stream.Video(write_video(tmp_path / "video.mp4", 51, 25)) as video:
        events = list(stream.watch(video, lambda batch: np.eye(7)[[6]], lambda _: next(boxes), real_time=real_time))
    assert [event.time for event in events] == [0.0, 1.0, 2.0]
    assert [event.prediction and event.prediction.emotion for event in events] == ["neutral", None, "neutral"]
    assert clock.now - 1000 == pytest.approx(passed)


def test_paced_does_not_wait_for_what_is_late(clock):
    released = []
    for moment, _ in stream.paced([(5.0, "a"), (6.0, "b"), (7.0, "c"), (9.0, "d")]):
        released.append((moment, clock.now - 1000))
        clock.advance(1.5)  # each look takes longer than a period
    assert released == [(5.0, 0.0), (6.0, 1.5), (7.0, 3.0), (9.0, 4.5)]


def test_time_of_day():
    positions = (0, 7, 6.9999, 59.9, 61, 3661.5, 100 * 3600)
    stamps = ["00:00:00", "00:00:07", "00:00:07", "00:00:59", "00:01:01", "01:01:01", "100:00:00"]
    assert [stream.time_of_day(position, live=False) for position in positions] == stamps
    now = 1_700_000_000.5
    assert stream.time_of_day(now, live=True) == datetime.fromtimestamp(now).strftime("%H:%M:%S")


def test_parse_source():
    assert [stream.parse_source(text) for text in ("0", "12", "a.mp4", "./0", "²", "rtsp://host/1")] == [
        0, 12, "a.mp4", "./0", "²", "rtsp://host/1",
    ]  # fmt: skip


def test_parse_period():
    assert stream.parse_period("0.25") == 0.25
    for text in ("0", "-1", "nan", "inf", "one", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
            stream.parse_period(text)
