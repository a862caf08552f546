import argparse
import itertools
import math
import os
import re
import struct
import sys
import threading
import wave
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.video import stream

RATES = (7.5, 12.5, 23.976, 25, 29.97, 60)


def write_video(path, frames, rate):
    """A video whose frame k has the grey level 8 * k modulo 240."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48)
    )
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 8 * index % 240, np.uint8))
    writer.release()
    return path


class Clock:
    """Time that passes only when somebody sleeps or `advance`s it; `ahead`: by how much somebody
    set the clock.
    """

    def __init__(self):
        self.now, self.ahead = 1000.0, 0.0

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    fake = SimpleNamespace(
        time=lambda: clock.now + clock.ahead, monotonic=lambda: clock.now, sleep=clock.advance
    )
    monkeypatch.setattr(stream, "time", fake)
    return clock


class Camera:
    """A capture whose frames, made every 40 ms, come when the test lets them; a frame's pixels are
    its number.
    """

    def __init__(self, clock, frames=10_000):
        self.clock, self.frames = clock, frames
        self.number, self.retrieved, self.released, self.grabs = -1, 0, False, 0
        # one frame proves that it works
        self.allowed, self.waiting = threading.Semaphore(1), threading.Semaphore(0)

    def make(self, frames):
        """Let so many frames come, and wait until the reader is back for another."""
        for _ in range(frames):
            assert self.waiting.acquire(timeout=10)
            self.allowed.release()
        assert self.waiting.acquire(timeout=10)
        self.waiting.release()

    def grab(self):
        self.grabs += 1
        if self.number + 1 >= self.frames:
            self.waiting.release(1000)
            return False
        self.waiting.release()
        assert self.allowed.acquire(timeout=10)
        if self.released:
            return False
        self.number += 1
        self.clock.advance(0.04)
        return True

    def retrieve(self):
        self.retrieved += 1
        return True, np.full((4, 4, 3), self.number, np.int32)

    def get(self, _):
        return 0.0

    def release(self):
        self.released = True

    def unblock(self):
        """Let a reader that is being closed go."""
        self.frames = 0
        self.allowed.release()


@pytest.fixture
def camera(monkeypatch, clock):
    """Camera 0, open: (the fake driver, the video)."""
    camera = Camera(clock)
    monkeypatch.setattr(stream, "_open", lambda source: camera)
    video = stream.Video(0)
    assert camera.waiting.acquire(timeout=10)  # that of the constructor
    yield camera, video
    camera.unblock()
    video.close()
    assert camera.released


class Connection:
    """A capture that gives frames at once, then fails; a frame's pixels are its number."""

    def __init__(self, clock, frames, seconds_to_fail=0.0):
        self.clock, self.left, self.seconds_to_fail = clock, list(frames), seconds_to_fail
        self.released, self.failures = False, 0

    def grab(self):
        assert not self.released
        if self.left:  # None: a frame that does not decode
            self.number = self.left.pop(0)
            return self.number is not None
        self.failures += 1
        self.clock.advance(self.seconds_to_fail)
        return False

    def retrieve(self):
        return True, np.full((4, 4), self.number, np.uint8)  # grey, as some cameras are

    def get(self, _):
        return -1.0

    def release(self):
        self.released = True


@given(
    rate=st.sampled_from(RATES),
    frames=st.integers(1, 900),
    every=st.sampled_from((1.0, 0.5, 2.0, 0.2, 3.7)),
)
def test_sample_count_is_the_closed_form(rate, frames, every):
    # as a container in milliseconds gives them
    times = [round(1000 * index / rate, 3) / 1000 for index in range(frames)]
    samples = list(stream.sample(times, every))
    assert len(samples) == math.floor((frames - 1) / (rate * every) + 1e-6) + 1
    for period, moment in enumerate(samples):
        assert -1e-6 <= moment - period * every < 1 / rate + 1e-3  # the first frame of its period


@pytest.mark.parametrize("rate", RATES)
def test_twenty_seconds_give_twenty_or_twenty_one_samples(rate):
    for frames in (math.floor(20 * rate), math.ceil(20 * rate) + 1):
        assert len(list(stream.sample((index / rate for index in range(frames)), 1.0))) in (20, 21)


def test_sample_counts_periods_from_the_first_frame_and_leaves_gaps_out():
    assert list(stream.sample([100.7, 101.2, 101.7, 101.9, 104.8, 105.6, 105.8], 1)) == [
        100.7,
        101.7,
        104.8,
        105.8,
    ]


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
        # nearer to this frame than to the next
        assert frame.mean() == pytest.approx(8 * index % 240, abs=3.9)


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
    with pytest.raises(
        InputError, match=r"empty\.mp4: must be a camera or a video, but the file is empty"
    ):
        stream.Video(tmp_path / "empty.mp4")
    for source in (text, cut):
        with pytest.raises(InputError, match=f"{source.name}: must be a camera or a video"):
            stream.Video(source)
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read: No such file"):
        stream.Video(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        stream.Video(tmp_path)
    with pytest.raises(InputError, match="camera 99: must be a camera"):
        stream.Video(99)
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x: .* does not answer"):
        stream.Video("http://127.0.0.1:9/x")


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a file's name be any bytes")
def test_a_path_that_is_not_utf8_is_refused_before_opencv_sees_it(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4"))
    path.write_bytes(b"something")
    with pytest.raises(InputError, match="must be valid UTF-8"):
        stream.Video(path)


def test_camera_gives_the_newest_frame_however_long_nobody_looked(camera):
    camera, video = camera
    assert video.live and video.duration is None
    frames = video.frames()
    for made in (1, 10, 1, 300):
        camera.make(made)
        moment, frame = next(frames)
        assert (frame == camera.number).all()
        assert moment == pytest.approx(camera.clock.now)


def test_camera_keeps_one_frame_and_decodes_none_that_is_not_due(camera):
    camera, video = camera
    frames = video.frames(1.0)
    camera.make(1)
    first, _ = next(frames)
    decoded = camera.retrieved
    camera.make(24)  # 0.96 s
    assert camera.retrieved == decoded
    camera.make(1)
    assert next(frames)[0] == pytest.approx(first + 1.0)
    assert camera.retrieved == decoded + 1
    # 2.8 s: periods are counted from the first frame, and those that passed are left out
    camera.make(70)
    assert next(frames)[0] == pytest.approx(first + 3.8)
    camera.make(5)
    assert next(frames)[0] == pytest.approx(first + 4.0)


def test_camera_that_is_pulled_out_ends_the_stream_and_is_said(camera, capsys):
    camera, video = camera
    camera.frames = camera.number + 3
    camera.make(2)
    assert [frame[0, 0, 0] for _, frame in video.frames()] == [camera.number]
    assert capsys.readouterr().err == "camera 0: gives no more frames: unplugged?\n"


def test_camera_that_is_closed_says_nothing(camera, capsys):
    camera, video = camera
    camera.unblock()
    video._newest._stop.set()
    video.close()
    assert camera.released and capsys.readouterr().err == ""


def test_camera_without_a_frame_is_closed_and_named(clock, monkeypatch):
    camera = Camera(clock, frames=0)
    monkeypatch.setattr(stream, "_open", lambda source: camera)
    with pytest.raises(InputError, match="camera 3: must be a camera"):
        stream.Video(3)
    assert camera.released


@pytest.fixture
def network(monkeypatch, clock):
    """Opens the given connections one after the other, without pausing."""

    def connect(*connections):
        following = iter(connections)
        monkeypatch.setattr(stream, "_open", lambda source: next(following))
        monkeypatch.setattr(stream, "_BACKOFF", (0.0, 0.0, 0.0))
        return stream.Video("http://user:secret@host/stream")

    return connect


def test_network_stream_that_drops_and_returns_goes_on(network, clock, capsys):
    connections = [Connection(clock, frames) for frames in ([0, 1], [], [2, 3], [4], [], [], [])]
    with network(*connections) as video:
        seen = [int(frame[0, 0, 0]) for _, frame in video.frames()]
    assert seen == sorted(seen) and seen[-1] == 4  # the newest, in order
    assert capsys.readouterr().err.splitlines() == [
        f"http://host/stream: {message}"
        for message in (
            "dropped, reconnecting ...",
            "back after 0.0 s",
            "dropped, reconnecting ...",
            "back after 0.0 s",
            "dropped, reconnecting ...",
            "gave up after 0 s and 3 attempts",
        )
    ]
    assert all(connection.released for connection in connections)


def test_network_stream_whose_frames_break_now_and_then_is_not_reconnected(network, clock, capsys):
    connection = Connection(clock, [0, *[None] * 9, 1, *[None] * 9, 2])
    with network(connection, *[Connection(clock, []) for _ in range(3)]) as video:
        assert [frame[0, 0, 0] for _, frame in video.frames()][-1] == 2
    assert "back" not in capsys.readouterr().err


def test_network_stream_that_falls_silent_is_reconnected_at_once(network, clock):
    silent = Connection(clock, [0], seconds_to_fail=5.0)
    with network(silent, *[Connection(clock, []) for _ in range(3)]) as video:
        assert len(list(video.frames())) <= 1
    assert silent.failures == 1


def test_a_live_source_is_stamped_by_the_clock_and_measured_by_what_passes(camera):
    """The clock is set back by an hour between two looks."""
    camera, video = camera
    events = stream.watch(video, lambda batch: np.eye(7)[: len(batch)], lambda _: [])
    seen = []
    for ahead in (0.0, -3600.0):
        camera.clock.ahead = ahead
        camera.make(25)
        seen.append(next(events))
    first, second = seen
    assert second.moment - first.moment == pytest.approx(1.0)
    assert second.time - first.time == pytest.approx(1.0 - 3600)
    assert second.time == pytest.approx(camera.clock.now - 3600)


def test_who_waits_for_a_silent_source_is_called_and_may_end_it(camera):
    camera, video = camera
    calls = []

    def idle():
        calls.append(len(calls))
        if len(calls) == 3:
            camera.make(1)
        return len(calls) < 6

    events = stream.watch(
        video, lambda batch: np.eye(7)[: len(batch)], lambda _: [], every=0, idle=idle
    )
    assert next(events).frame[0, 0, 0] == 1
    assert len(calls) >= 3
    assert list(events) == []
    assert len(calls) == 6


def test_recording_goes_on_after_broken_frames(tmp_path):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48)
    )
    for index in range(30):
        writer.write(np.full((48, 64, 3), 8 * index, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", content)]
    assert len(starts) == 30
    for start, end in itertools.pairwise(starts[10:14]):
        # three pictures lost; the container is whole
        content[start : end - 16] = bytes(end - 16 - start)
    path.write_bytes(content)
    with stream.Video(path) as video:
        looks = list(video.frames())
    assert [round(moment * 25) for moment, _ in looks] == [*range(10), *range(13, 30)]
    assert all(
        frame.mean() == pytest.approx(8 * round(25 * moment), abs=3) for moment, frame in looks
    )


FRAME = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
BOXES = [faces.Box(40, 40, 50, 50), faces.Box(0, 0, 20, 20)]
HAPPY = np.array([0.1, 0, 0.05, 0.6, 0.2, 0.05, 0], np.float32)
SAD = np.array([0.1, 0, 0.05, 0.2, 0.6, 0.05, 0], np.float32)


def test_read_emotions_predicts_all_faces_in_one_batch():
    seen = []

    def predictor(batch):
        seen.append(batch)
        return np.stack([HAPPY, SAD])

    predictions = stream.read_emotions(FRAME, predictor, lambda _: BOXES)
    assert [(one.emotion, one.box) for one in predictions] == [
        ("happy", BOXES[0]),
        ("sad", BOXES[1]),
    ]
    np.testing.assert_array_equal([one.probabilities for one in predictions], [HAPPY, SAD])
    (batch,) = seen
    np.testing.assert_array_equal(batch, [faces.crop(FRAME, box) for box in BOXES])
    assert stream.read_emotions(FRAME, predictor, lambda _: []) == []
    assert len(seen) == 1  # without a face the network is not asked


class Recording:
    """A recording of the given times."""

    live = False

    def __init__(self, times):
        self.times = times

    def frames(self, every, idle):
        return ((moment, FRAME) for moment in stream.sample(self.times, every))

    def clock_time(self, moment):
        return moment


def watched(times, probabilities, boxes, **options):
    """The events of a recording in which the predictor and the detector answer from lists."""
    probabilities, boxes = iter(probabilities), iter(boxes)
    predictor, detector = (lambda batch: np.array(next(probabilities))), (lambda frame: next(boxes))
    return list(stream.watch(Recording(times), predictor, detector, real_time=False, **options))


@pytest.mark.parametrize(("real_time", "passed"), [(True, 2.0), (False, 0.0)])
def test_watch_plays_a_recording_at_its_own_speed_or_at_once(tmp_path, clock, real_time, passed):
    boxes = iter([[faces.Box(0, 0, 40, 40)], [], [faces.Box(0, 0, 40, 40)]])
    with stream.Video(write_video(tmp_path / "video.mp4", 51, 25)) as video:
        events = list(
            stream.watch(
                video, lambda batch: np.eye(7)[[6]], lambda _: next(boxes), real_time=real_time
            )
        )
    assert [event.time for event in events] == [0.0, 1.0, 2.0]
    assert [[one.emotion for one in event.predictions] for event in events] == [
        ["neutral"],
        [],
        ["neutral"],
    ]
    assert all(event.due and event.frame.shape == (48, 64, 3) for event in events)
    assert clock.now - 1000 == pytest.approx(passed)


def test_watch_of_each_frame_marks_the_first_of_each_period():
    times = [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 5.0]
    events = watched(times, [], [[]] * 7, each_frame=True)
    assert [event.time for event in events] == times
    assert [event.time for event in events if event.due] == [0.0, 1.2, 2.0, 5.0]


def test_watch_keeps_people_apart_and_averages_each():
    """Two people who keep their places while the detector changes their order."""
    swapped = BOXES[::-1]
    events = watched(
        [0.0, 0.1], [[HAPPY, SAD], [SAD, HAPPY]], [BOXES, swapped], each_frame=True, smooth=0.5
    )
    for event in events:
        assert [one.box for one in sorted(event.predictions, key=lambda one: one.person)] == BOXES
        assert [one.emotion for one in sorted(event.predictions, key=lambda one: one.person)] == [
            "happy",
            "sad",
        ]


def test_watch_calls_uncertain_what_is_below_the_confidence():
    for least, emotion in ((0.59, "happy"), (0.61, "uncertain")):
        (event,) = watched([0.0], [[HAPPY]], [BOXES[:1]], min_confidence=least)
        assert [(one.emotion, one.probability) for one in event.predictions] == [
            (emotion, pytest.approx(0.6))
        ]


def test_smoother_is_the_exponential_average_in_closed_form():
    smoother, passed = stream.Smoother(2.0), np.array([0.5, 1.0, 3.0])
    values = np.random.default_rng(0).dirichlet(np.ones(7), 4)
    expected = values[0]
    assert smoother(0.0, [5], values[:1]) == pytest.approx(expected[None])
    for moment, step, value in zip(np.cumsum(passed), passed, values[1:], strict=True):
        expected = expected + (1 - np.exp(-step / 2.0)) * (value - expected)
        average = smoother(moment, [5], value[None])
        assert average == pytest.approx(expected[None]) and average.sum() == pytest.approx(1)


def test_smoother_starts_afresh_after_a_gap_and_with_each_person():
    smoother = stream.Smoother(1.0)
    smoother(0.0, [1, 2], np.stack([HAPPY, SAD]))
    np.testing.assert_array_equal(smoother(0.5, [3], HAPPY[None]), HAPPY[None])
    assert smoother(1.9, [1], SAD[None])[0] == pytest.approx(SAD + np.exp(-1.9) * (HAPPY - SAD))
    np.testing.assert_array_equal(smoother(2.1, [2], HAPPY[None]), HAPPY[None])
    assert smoother(9.0, [], np.array([])).shape == (0,)
    assert not smoother._last  # memory is that of the people around


def test_smoother_of_no_time_changes_nothing():
    smoother = stream.Smoother(0.0)
    for values in (HAPPY, SAD):
        np.testing.assert_array_equal(smoother(0.0, [1], values[None]), values[None])


def test_paced_does_not_wait_for_what_is_late(clock):
    released = []
    for moment, _ in stream.paced([(5.0, "a"), (6.0, "b"), (7.0, "c"), (9.0, "d")]):
        released.append((moment, clock.now - 1000))
        clock.advance(1.5)  # each look takes longer than a period
    assert released == [(5.0, 0.0), (6.0, 1.5), (7.0, 3.0), (9.0, 4.5)]


@pytest.mark.parametrize("busy", [1.1, 2.5, 7.0])
def test_paced_never_lags_by_more_than_a_look_and_a_step(clock, busy):
    shown = []
    for moment, _ in stream.paced((float(second), None) for second in range(100)):
        shown.append(moment)
        assert clock.now - 1000 - moment <= 1
        clock.advance(busy)
    assert len(shown) == pytest.approx(100 / busy, abs=10)


def test_paced_shows_late_what_cannot_be_in_time(clock):
    """A recording that takes twice its length to decode is shown to its end, with no long silence."""

    def slow():
        for second in range(60):
            clock.advance(2.0)
            yield float(second), None

    shown = [(moment, clock.now) for moment, _ in stream.paced(slow())]
    assert shown[-1][0] >= 58
    assert np.diff([now for _, now in shown]).max() <= 4.0


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_paced_does_not_sleep_through_a_jump_in_a_recordings_time(clock, every):
    times = [0.0, 1.0, 7200.0, 7201.0] if every == 0 else [0.0, 60.0, 7200.0, 7260.0]
    shown = [clock.now for _ in stream.paced(((moment, None) for moment in times), every)]
    step = times[1]
    assert np.diff(shown) == pytest.approx([step, 0.0, step])


def test_a_broken_first_frame_is_passed_over(monkeypatch, tmp_path):
    grabs = iter([False, False, True])
    path = write_video(tmp_path / "video.mp4", 3, 25)
    opened = stream._open(path)

    class Capture:
        grab = lambda self: next(grabs)
        __getattr__ = lambda self, name: getattr(opened, name)

    monkeypatch.setattr(stream, "_open", lambda source: Capture())
    with stream.Video(path) as video:
        assert video.rate == 25


class Download:
    """A connection to ten seconds of 25 frames/s; it ends before frame `end`, and may not be able
    to seek.
    """

    def __init__(self, end, seeks=True, states=250):
        self.end, self.seeks, self.states, self.number, self.released = (
            end,
            seeks,
            states,
            -1,
            False,
        )

    def grab(self):
        if self.number + 1 >= self.end:
            return False
        self.number += 1
        return True

    def retrieve(self):
        return True, np.full((4, 4, 3), self.number, np.uint8)

    def set(self, what, milliseconds):
        assert what == cv2.CAP_PROP_POS_MSEC
        if self.seeks:
            self.number = round(milliseconds / 40) - 1

    def get(self, what):
        return {
            cv2.CAP_PROP_FRAME_COUNT: self.states,
            cv2.CAP_PROP_FPS: 25,
            cv2.CAP_PROP_POS_MSEC: 40 * self.number,
            cv2.CAP_PROP_POS_FRAMES: self.number + 1,
        }[what]

    def release(self):
        self.released = True


@pytest.fixture
def downloads(monkeypatch):
    """A recording whose connections are the given ones, one after the other."""

    def connect(*connections):
        following = iter(connections)
        monkeypatch.setattr(stream, "_open", lambda source: next(following))
        monkeypatch.setattr(stream, "_BACKOFF", (0.0, 0.0, 0.0))
        return stream.Video("http://me:p@ss@host/video.mp4")

    return connect


@pytest.mark.parametrize("seeks", [True, False])
def test_a_recording_whose_server_drops_and_returns_goes_on_where_it_was(downloads, capsys, seeks):
    connections = [Download(51), Download(0), Download(120, seeks), Download(250, seeks)]
    with downloads(*connections) as video:
        assert video.name == "http://host/video.mp4" and not video.live
        seen = [(round(25 * moment), int(frame[0, 0, 0])) for moment, frame in video.frames()]
    assert seen == [(number, number) for number in range(250)]
    assert capsys.readouterr().err.count("http://host/video.mp4: back after") == 2
    assert all(connection.released for connection in connections)


def test_a_recording_whose_server_falls_silent_is_no_short_recording(downloads):
    lost = r"http://host/video.mp4: the connection was lost at 2 s of 10 s"
    for connections in ([Download(0)] * 3, [Download(51)]):  # nobody there; no more there
        with downloads(Download(51), *connections) as video:
            frames = video.frames(1.0)
            assert [next(frames)[0], next(frames)[0], next(frames)[0]] == [0, 1, 2]
            with pytest.raises(InputError, match=lost):
                next(frames)


@pytest.mark.parametrize(
    ("states", "given", "whole"), [(250, 180, True), (250, 170, False), (90_000, 89_000, False)]
)
def test_a_recording_may_lack_three_seconds_of_what_it_states(downloads, states, given, whole):
    with downloads(Download(given, states=states), *[Download(0)] * 3) as video:
        count = sum(1 for _ in video._positions()) if whole else 0
        if not whole:
            with pytest.raises(InputError, match="the connection was lost"):
                list(video._positions())
    assert count == (given if whole else 0)


class Server(ThreadingHTTPServer):
    """Serves `content` as web servers serve files, once only up to byte `cut`; then it refuses
    until it is `back`.
    """

    daemon_threads = True

    def __init__(self, content, kind, cut):
        self.content, self.kind, self.cut, self.down, self.back = content, kind, cut, False, False
        super().__init__(("127.0.0.1", 0), Answer)

    def handle_error(self, request, client_address):
        """A client that hangs up is no error here."""


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self):
        self.begin()

    def begin(self):
        size = len(self.server.content)
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        return start

    def do_GET(self):
        if self.server.down and not self.server.back:
            self.send_error(503)
            return
        start, end = self.begin(), len(self.server.content)
        if self.server.cut and not self.server.down:
            end, self.server.down = self.server.cut, True
        self.wfile.write(self.server.content[start:end])

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def serve():
    """Serves bytes as a kind of content: (the server, its URL)."""
    servers = []

    def serve(content, kind, cut=None):
        servers.append(server := Server(content, kind, cut))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server, f"http://127.0.0.1:{server.server_port}/video"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_real_download_that_is_cut_goes_on_where_it_was(tmp_path, serve, monkeypatch):
    """FFmpeg asks again by itself; but where the server is down for longer, it is opened anew."""
    said = []

    def say(name, message):
        said.append(message[:7])
        server.back = True

    monkeypatch.setattr(stream, "_BACKOFF", (0.0, 0.0, 0.0))
    monkeypatch.setattr(stream, "_BROKEN_FRAMES", 5)
    monkeypatch.setattr(stream, "_say", say)
    # of larger pictures than what is read ahead
    path, noise = tmp_path / "video.avi", np.random.default_rng(0)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96)
    )
    for _ in range(100):
        writer.write(noise.integers(0, 256, (96, 128, 3), np.uint8))
    writer.release()
    content = path.read_bytes()
    server, url = serve(content, "video/x-msvideo", cut=len(content) // 2)
    with stream.Video(url) as video, stream.Video(path) as whole:
        pairs = list(zip(video.frames(), whole.frames(), strict=True))
    assert len(pairs) == 100
    assert all(moment == expected for (moment, _), (expected, _) in pairs)
    # the picture that was cut
    assert sum((frame != expected).any() for (_, frame), (_, expected) in pairs) <= 1
    assert said == ["dropped", "back af"]


def test_a_file_of_no_stated_length_is_played_once_if_its_server_knows_its_length(
    tmp_path, serve, monkeypatch, capsys
):
    """A bare sequence of JPEG pictures."""
    monkeypatch.setattr(stream, "_BACKOFF", (0.0,))
    content = b"".join(
        cv2.imencode(".jpg", np.full((48, 64, 3), 20 * level, np.uint8))[1].tobytes()
        for level in range(10)
    )
    _, url = serve(content, "video/x-motion-jpeg")
    with stream.Video(url + ".mjpeg") as video:
        assert not video.live and video.duration is None
        assert len(list(video.frames())) == 10
    assert capsys.readouterr().err == ""


def test_what_has_a_length(serve):
    for kind, end, has in (
        ("video/webm", "", True),
        ("application/octet-stream", ".ts?key=1", True),
        ("application/octet-stream", "/live.m3u8?key=1", False),  # the length of a playlist
        ("application/vnd.apple.mpegurl", "", False),
        ("multipart/x-mixed-replace", "", False),
        ("image/jpeg", "", False),  # a camera's newest picture
    ):
        _, url = serve(b"content", kind)
        assert stream._has_length(url + end) == has, (kind, end)
    assert not stream._has_length("rtsp://127.0.0.1:9/x") and not stream._has_length(
        "http://me:secret@127.0.0.1:9/x"
    )


def test_a_number_that_is_no_camera_is_refused():
    with pytest.raises(
        InputError,
        match=r"camera 20240101123456: must be an index from 0 to 99; .* \./20240101123456",
    ):
        stream.Video(20240101123456)


def event_of(*predictions):
    return stream.Event(3.0, predictions, FRAME, True, 3.0)


def prediction(emotion, probability, person):
    return stream.Prediction(emotion, probability, HAPPY, BOXES[0], person)


def test_described_has_the_forms_that_are_promised():
    one, two = prediction("happy", 0.734, 1), prediction("sad", 0.61, 2)
    unsure = prediction("uncertain", 0.31, 2)
    assert stream.described(event_of(), live=False) == "00:00:03s : no face"
    assert stream.described(event_of(), live=False, numbered=True) == "00:00:03s : no face"
    assert stream.described(event_of(two), live=False) == "00:00:03s : Sad , 61%"
    assert (
        stream.described(event_of(two), live=False, numbered=True)
        == "00:00:03s : person 2 : Sad , 61%"
    )
    assert stream.described(event_of(unsure), live=False) == "00:00:03s : uncertain , 31%"
    several = "00:00:03s : person 1 : Happy , 73%\n00:00:03s : person 2 : Sad , 61%"
    assert stream.described(event_of(two, one), live=False) == several


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
    for text in ("0", "-1", "nan", "inf", "one", "", "1e-310"):
        with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
            stream.parse_period(text)


def test_parse_probability():
    assert [stream.parse_probability(text) for text in ("0", "0.5", "1")] == [0, 0.5, 1]
    for text in ("-0.1", "1.1", "50%", "nan", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
            stream.parse_probability(text)


def test_an_audio_file_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(InputError, match=r"sound\.wav: must be .* no picture in it can be decoded"):
        stream.Video(path)


def picture_frame(content):
    """An ID3 tag with a cover picture."""
    picture = b"\0image/png\0\3\0" + content
    frame = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame


def test_sound_with_a_cover_is_no_video(tmp_path):
    path, cover = (
        tmp_path / "song.mp3",
        cv2.imencode(".png", np.zeros((48, 48, 3), np.uint8))[1].tobytes(),
    )
    silence = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 26 ms
    path.write_bytes(picture_frame(cover) + 100 * silence)
    with pytest.raises(
        InputError,
        match=r"song\.mp3: must be a camera or a video, but it is sound with a cover picture",
    ):
        stream.Video(path)
