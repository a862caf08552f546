"""The live stream end to end: speed, latency, memory over a long video, and a failing network.

    python benchmarks/stream.py                            all four; 12 minutes
    python benchmarks/stream.py latency --detector yunet

speed    decode, detect, crop, predict and draw each frame of a 1280x720 recording
latency  from the moment a frame leaves a local MJPEG server, 30 a second, to its printed line
memory   the script's peak over a video of --minutes against that of its first minute, with --fast
faults   the script on a server that drops, stalls, corrupts and refuses, for --seconds

Exit code 1 where a figure misses what it must be: 30 frames a second, 100 ms for 95 % of lines, 5 %
more memory, and under faults no crash, no malformed line and no growth of memory, descriptors or
threads. Another job on the machine costs speed.

The picture is the shipped clip, scaled, with the shipped model. Linux, for what is read from /proc.
"""

import argparse
import contextlib
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from fer_jax import cli, faces, labels
from fer_jax.video import overlay, watch
from fer_jax.video.capture import Video
from fer_jax.video.record import VideoFile

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
RATE = 30  # frames per second of the synthetic sources
WARM_UP = 20  # looks that are not counted
# frames per second, milliseconds, and a share of memory
LEAST_RATE, MOST_LATENCY, MOST_GROWTH = 30, 100, 0.05
SPARE = 4  # descriptors or threads of a connection that is just being replaced, and its decoder
# a frame's number is written into its upper row: a square of so many pixels per bit
_BIT, _BITS = 32, 10

NAMES = "|".join(labels.EMOTIONS).title()
EMOTION = rf"(?:no face|(?:person \d+ : )?(?:{NAMES}) , (?:100|\d?\d)%)"
LINE = re.compile(rf"Reading video stream \.\.\.|Preprocessing \.\.\.|\d\d:\d\d:\d\ds : {EMOTION}|")
MESSAGE = re.compile(r"http://\S+: (dropped, .*|back after .* s)")


def main() -> int:
    parts = {"speed": speed, "latency": latency, "memory": memory, "faults": faults}
    parser = cli.parser(__doc__)
    parser.add_argument("part", nargs="?", choices=parts, help="default: all")
    faces.add_detector(parser)
    parser.add_argument("--frames", type=int, default=300, help="of speed and latency")
    parser.add_argument("--minutes", type=float, default=30, help="of the long video (default: 30)")
    parser.add_argument("--seconds", type=float, default=600, help="of faults (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    arguments = parser.parse_args()
    chosen = [parts[arguments.part]] if arguments.part else parts.values()
    with tempfile.TemporaryDirectory() as folder:
        return max(part(arguments, Path(folder)) for part in chosen)


def load(arguments: argparse.Namespace) -> tuple[watch.Predictor, faces.Detector]:
    from fer_jax.predict import Predictor  # brings JAX, which `cli.run` has set up by now

    return Predictor(), faces.detector(arguments.detector, arguments.detector_model)


def pictures(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Return the clip's first frames, each with its number in the corner, on black of that size."""
    width, height = size
    with Video(CLIP) as video:
        originals = [frame for _, frame in itertools.islice(video.frames(), count)]
    half = round(height * originals[0].shape[1] / originals[0].shape[0]) // 2
    drawn = np.zeros((len(originals), height, width, 3), np.uint8)
    for number, frame in enumerate(originals):
        middle = slice(width // 2 - half, width // 2 + half)
        drawn[number, :, middle] = faces.opencv().resize(frame, (2 * half, height))
        for bit in range(_BITS):
            drawn[number, :_BIT, bit * _BIT : (bit + 1) * _BIT] = 255 * (number >> bit & 1)
    return list(drawn)


def number_of(frame: np.ndarray) -> int:
    """Return the number that `pictures` wrote into a frame."""
    inside = slice(_BIT // 4, 3 * _BIT // 4)
    squares = frame[inside, : _BITS * _BIT].reshape(_BIT // 2, _BITS, _BIT, 3)
    return sum(1 << bit for bit in range(_BITS) if squares[:, bit, inside].mean() > 127)


def write_video(path: Path, shown: list[np.ndarray], frames: int) -> None:
    """Write a recording that shows pictures again and again."""
    with VideoFile(path, RATE) as video:
        for index in range(frames):
            video.write(index / RATE, shown[index % len(shown)])


def speed(arguments: argparse.Namespace, folder: Path) -> int:
    """Print frames per second; return 1 if they are below 30."""
    path = folder / "speed.mp4"
    write_video(path, pictures((1280, 720), 60), arguments.frames + WARM_UP)
    predictor, detector = load(arguments)
    seen = 0
    with Video(path) as video:
        looks = watch.watch(video, predictor, detector, every=0, real_time=False)
        for index, event in enumerate(looks, 1):
            overlay.draw(event.frame, event.predictions, predictor.emotions, status="00:00:00")
            seen += bool(event.predictions)
            if index == WARM_UP:
                began, burnt = time.perf_counter(), time.process_time()
    rate = arguments.frames / (time.perf_counter() - began)
    # on a busy machine the only figure to compare
    cpu = 1000 * (time.process_time() - burnt) / arguments.frames
    found = f"with {detector.name}, a face in {seen / index:.0%}"
    print(f"speed: {rate:.0f} frames/s at 1280x720 {found}")
    print(f"speed: {cpu:.1f} ms of CPU time of all cores a frame")
    return int(rate < LEAST_RATE)


# what becomes of a picture that a `Connection` is about to send; None drops the connection
Fault = Callable[[Any, bytes], bytes | None]


class Mjpeg(ThreadingHTTPServer):
    """A context in which an endless MJPEG stream is served at `RATE`, on a free local port."""

    daemon_threads = True

    def __init__(self, shown: list[np.ndarray], fault: Fault = lambda _, whole: whole):
        encode = faces.opencv().imencode
        self.pictures = [encode(".jpg", picture)[1].tobytes() for picture in shown]
        self.fault = fault
        self.sent: dict[int, float] = {}  # when the newest frame of each number was sent
        self.refusing = 0.0  # until then no one is served; both by time.monotonic()
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_port}/video.mjpg"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""

    def server_close(self) -> None:
        self.closing.set()
        self.shutdown()
        super().server_close()


class Connection(BaseHTTPRequestHandler):
    server: Mjpeg

    def do_GET(self) -> None:
        if time.monotonic() < self.server.refusing:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began, count = time.monotonic(), 0
        while not self.server.closing.wait(max(0.0, began + count / RATE - time.monotonic())):
            number = count % len(self.server.pictures)
            picture = self.server.fault(self, self.server.pictures[number])
            if picture is None:
                return
            self.server.sent[number] = time.monotonic()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            count += 1

    def log_message(self, *_: object) -> None:
        """Quiet."""


def latency(arguments: argparse.Namespace, folder: Path) -> int:
    """Print the milliseconds from sending a frame to its line; return 1 if 5 % exceed 100."""
    predictor, detector = load(arguments)
    late: list[float] = []
    shown = pictures((1280, 720), 120)
    out = folder / "lines.txt"
    with Mjpeg(shown) as server, out.open("w") as lines, Video(server.url) as video:
        for event in watch.watch(video, predictor, detector, every=0):
            print(watch.described(event, live=True), file=lines, flush=True)
            now = time.monotonic()
            late.append(now - server.sent[number_of(event.frame)])
            if len(late) == WARM_UP:
                began = now
            if len(late) == arguments.frames + WARM_UP:
                break
        rate = arguments.frames / (time.monotonic() - began)
    median, high = 1000 * np.percentile(late[WARM_UP:], [50, 95])
    print(f"latency: median {median:.0f} ms, 95th percentile {high:.0f} ms at {rate:.0f} lines/s")
    return int(high > MOST_LATENCY)


def memory(arguments: argparse.Namespace, folder: Path) -> int:
    """Print the script's peak memory; return 1 if it is 5 % above that of the first minute."""
    path, table = folder / "long.mp4", folder / "faces.csv"
    write_video(path, pictures((320, 240), 300), round(60 * RATE * arguments.minutes))
    process = start(arguments, folder, path, "--fast", "--csv", table, stdout=subprocess.DEVNULL)
    first_minute = peak = 0.0
    while process.poll() is None:
        peak = max(peak, usage(process.pid)[0])
        if reached(table) < 60:
            first_minute = peak
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(f"the script failed with {process.returncode}")
    growth = peak / first_minute - 1
    print(f"memory: peak of minute 1 {first_minute:.0f} MiB, of all {peak:.0f}: {growth:+.1%}")
    return int(growth > MOST_GROWTH)


def reached(table: Path) -> float:
    """Return the seconds in the last row of a table that is being written; 0 without a row."""
    rows = table.read_text().splitlines()[1:] if table.exists() else []
    return float(rows[-1].split(",")[0]) if rows else 0.0


Usage = tuple[float, int, int]  # what a process holds: resident MiB, descriptors, threads


def faults(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the script on a failing server; return 1 as `judge` does."""
    injected: Counter[str] = Counter()
    usages: list[Usage] = []
    fault = injector(random.Random(arguments.seed), injected)
    words = ["--every", 0.2, "--max-seconds", arguments.seconds, "--csv", folder / "faces.csv"]
    out, err = (folder / name for name in ("out.txt", "err.txt"))
    shown = pictures((640, 480), 120)
    with Mjpeg(shown, fault) as server, out.open("w") as lines, err.open("w") as messages:
        process = start(arguments, folder, server.url, *words, stdout=lines, stderr=messages)
        deadline = time.monotonic() + 1.2 * arguments.seconds + 60
        while process.poll() is None and time.monotonic() < deadline:
            usages.append(usage(process.pid))
            time.sleep(1)
        process.kill()  # if it is stuck
        process.wait()
    return judge(process.returncode, usages, injected, folder)


def judge(returncode: int, usages: list[Usage], injected: dict[str, int], folder: Path) -> int:
    """Return 1 if the script crashed, printed a line of another form, or grew in the last third."""
    lines = (folder / "out.txt").read_text().splitlines()
    messages = (folder / "err.txt").read_text().splitlines()
    bad = [line for line in lines if not LINE.fullmatch(line)]
    strange = [line for line in messages if not MESSAGE.fullmatch(line)]
    third = len(usages) // 3
    before = np.max(usages[third : 2 * third + 1], axis=0)
    after = np.max(usages[-third - 1 :], axis=0)
    growth = after[0] / before[0] - 1
    looks = sum(" : " in line for line in lines)
    returns = sum("back after" in line for line in messages)
    print(f"faults: {dict(injected)}; exit code {returncode}, {looks} looks, {returns} returns")
    print(f"faults: {len(bad)} malformed lines, {len(strange)} strange messages {strange[:3]}")
    held = "{:.0f} descriptors and {:.0f} threads, then {:.0f} and {:.0f}"
    print(f"faults: memory {growth:+.1%}; at most", held.format(*before[1:], *after[1:]))
    leaks = growth > MOST_GROWTH or (after - before)[1:].max() > SPARE
    return int(returncode != 0 or bool(bad) or bool(strange) or leaks or looks == 0)


def injector(moments: random.Random, injected: Counter[str]) -> Fault:
    """Return a fault every two seconds or so, counted by its kind."""
    kinds = ("drop", "stall", "corrupt", "cut", "noise", "headers", "refuse")

    def fault(connection: Connection, picture: bytes) -> bytes | None:
        if moments.random() > 0.5 / RATE:
            return picture
        kind = moments.choice(kinds)
        injected[kind] += 1
        if kind == "stall":  # sometimes shorter than the reader's patience, sometimes longer
            connection.server.closing.wait(moments.uniform(0.5, 8))
        elif kind == "headers":
            connection.wfile.write(b"\r\n--frame\r\nContent-Length: many\r\n\r\n")
        elif kind == "corrupt":
            broken = bytearray(picture)
            for _ in range(50):
                broken[moments.randrange(len(broken))] = moments.randrange(256)
            picture = bytes(broken)
        elif kind == "cut":
            picture = picture[: moments.randrange(len(picture))]
        elif kind == "noise":
            picture = moments.randbytes(2000)
        elif kind == "refuse":
            connection.server.refusing = time.monotonic() + moments.uniform(0.5, 6)
        return None if kind in ("drop", "refuse") else picture

    return fault


def start(
    arguments: argparse.Namespace, folder: Path, source: object, *words: object, **streams: Any
) -> subprocess.Popen:
    """Start the script on `source`, with a compilation cache in `folder`."""
    command = [sys.executable, ROOT / "scripts" / "predict_live_stream.py", "--source", source]
    command += ["--detector", arguments.detector, *words]
    if arguments.detector_model:
        command += ["--detector-model", arguments.detector_model]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    environment = os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(list(map(str, command)), env=environment, **streams)


def usage(pid: int) -> Usage:
    """Return what a process holds by now; zeros once it is gone."""
    with contextlib.suppress(OSError):
        process = Path(f"/proc/{pid}")
        status = (process / "status").read_text()
        memory, threads = (re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "Threads"))
        if memory and threads:
            return int(memory[1]) / 1024, len(list((process / "fd").iterdir())), int(threads[1])
    return 0.0, 0, 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
