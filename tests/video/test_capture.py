import itertools
import math
import re

import cv2
import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.video import capture


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


@pytest.mark.parametrize("rate", [12.5, 23.976, 25, 29.97])
def test_recording_gives_the_right_frame_at_the_right_time(write_video, tmp_path, rate):
    path = write_video(tmp_path / "video.mp4", 100, rate)
    with capture.Video(path) as video:
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


def test_recording_gives_every_frame_in_order(write_video, tmp_path):
    with capture.Video(str(write_video(tmp_path / "video.mp4", 30, 25))) as video:
        times = [moment for moment, _ in video.frames()]
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)


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
    camera = Connection(clock, [])
    monkeypatch.setattr(capture, "open_capture", lambda source: camera)
    with pytest.raises(InputError, match="camera 3: must be a camera"):
        capture.Video(3)
    assert camera.released


@pytest.fixture
def network(monkeypatch, clock):
    """Opens the given connections one after the other, without pausing."""

    def connect(*connections):
        following = iter(connections)
        monkeypatch.setattr(capture, "open_capture", lambda source: next(following))
        monkeypatch.setattr(capture, "_BACKOFF", (0.0, 0.0, 0.0))
        return capture.Video("http://user:secret@host/stream")

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


def test_recording_goes_on_after_broken_frames(write_video, tmp_path):
    path = write_video(tmp_path / "video.avi", 30, 25)
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", content)]
    assert len(starts) == 30
    for start, end in itertools.pairwise(starts[10:14]):
        # three pictures lost; the container is whole
        content[start : end - 16] = bytes(end - 16 - start)
    path.write_bytes(content)
    with capture.Video(path) as video:
        looks = list(video.frames())
    assert [round(moment * 25) for moment, _ in looks] == [*range(10), *range(13, 30)]
    assert all(
        frame.mean() == pytest.approx(8 * round(25 * moment), abs=3) for moment, frame in looks
    )


def test_a_broken_first_frame_is_passed_over(write_video, monkeypatch, tmp_path):
    grabs = iter([False, False, True])
    path = write_video(tmp_path / "video.mp4", 3, 25)
    opened = capture.open_capture(path)

    class Capture:
        grab = lambda self: next(grabs)
        __getattr__ = lambda self, name: getattr(opened, name)

    monkeypatch.setattr(capture, "open_capture", lambda source: Capture())
    with capture.Video(path) as video:
        assert video.rate == 25


class Download:
    """A connection to ten seconds of 25 frames/s; it ends before frame `end`, and may not be able
    to seek.
    """

    def __init__(self, end, seeks=True, states=250):
        self.end, self.seeks, self.states = end, seeks, states
        self.number, self.released = -1, False

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
        monkeypatch.setattr(capture, "open_capture", lambda source: next(following))
        monkeypatch.setattr(capture, "_BACKOFF", (0.0, 0.0, 0.0))
        return capture.Video("http://me:p@ss@host/video.mp4")

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


def test_a_real_download_that_is_cut_goes_on_where_it_was(tmp_path, serve, monkeypatch):
    """FFmpeg asks again by itself; but where the server is down for longer, it is opened anew."""
    said = []

    def say(name, message):
        said.append(message[:7])
        server.back = True

    monkeypatch.setattr(capture, "_BACKOFF", (0.0, 0.0, 0.0))
    monkeypatch.setattr(capture, "_BROKEN_FRAMES", 5)
    monkeypatch.setattr(capture, "say", say)
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
    with capture.Video(url) as video, capture.Video(path) as whole:
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
    monkeypatch.setattr(capture, "_BACKOFF", (0.0,))
    content = b"".join(
        cv2.imencode(".jpg", np.full((48, 64, 3), 20 * level, np.uint8))[1].tobytes()
        for level in range(10)
    )
    _, url = serve(content, "video/x-motion-jpeg")
    with capture.Video(url + ".mjpeg") as video:
        assert not video.live and video.duration is None
        assert len(list(video.frames())) == 10
    assert capsys.readouterr().err == ""
