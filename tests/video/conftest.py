"""Sources of video for tests: files, recordings, a camera, a web server, and a clock."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_jax.labels import EMOTIONS
from fer_jax.video import capture, report, times, watch


@pytest.fixture
def write_video():
    """Write a video whose frame k has the grey level 8 * k modulo 240; return its path."""

    def write(path, frames, rate, size=(64, 48)):
        codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, rate, size)
        for index in range(frames):
            writer.write(np.full((size[1], size[0], 3), 8 * index % 240, np.uint8))
        writer.release()
        return path

    return write


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
    for module in (capture, times):
        monkeypatch.setattr(module, "time", fake)
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
    monkeypatch.setattr(capture, "open_capture", lambda source: camera)
    video = capture.Video(0)
    assert camera.waiting.acquire(timeout=10)  # that of the constructor
    yield camera, video
    camera.unblock()
    video.close()
    assert camera.released


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


class Recording:
    """A recording that gives a frame at each of the moments."""

    live = False

    def __init__(self, moments, frame):
        self.moments, self.frame = moments, frame

    def frames(self, every, idle):
        return ((float(moment), self.frame) for moment in self.moments)

    def clock_time(self, moment):
        return moment


@pytest.fixture
def recording():
    return Recording


class Scene:
    """A detector and a predictor of a video: look k shows the k-th list of (box, probabilities)."""

    def __init__(self, looks, emotions=EMOTIONS):
        self.looks, self.emotions = list(looks), emotions

    def detector(self, frame):
        self.shown = self.looks.pop(0)
        return [box for box, _ in self.shown]

    def __call__(self, crops):
        assert crops.shape == (len(self.shown), 48, 48) and crops.dtype == np.uint8
        return np.array([probabilities for _, probabilities in self.shown], np.float32)

    def reader(self, every=1.0):
        return report.Reader(self, self.detector, every, "Model vgg & sons.")


@pytest.fixture
def scene():
    return Scene


@pytest.fixture
def recorded(tmp_path):
    """Write the table of a scene: its path, and the turns of its people."""

    def write(looks, moments=None, emotions=EMOTIONS):
        moments = range(len(looks)) if moments is None else moments
        video = Recording(moments, np.full((60, 160, 3), 99, np.uint8))
        scene = Scene(looks, emotions)
        events = watch.watch(video, scene, scene.detector, 1.0, real_time=False)
        path = tmp_path / "faces.csv"
        return path, report.record(events, emotions, path)

    return write
