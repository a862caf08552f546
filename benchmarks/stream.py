"""The live stream end to end: speed at 1280x720, latency, memory over a long video, and a network
that fails.

    python benchmarks/stream.py                                  all four; 12 minutes
    python benchmarks/stream.py speed latency --detector yunet --detector-model
    face_detection_yunet_2023mar.onnx python benchmarks/stream.py faults --seconds 600

speed    decode, detect, crop, predict and draw each frame of a recording, one after the other
latency  from the moment a frame leaves a local MJPEG server, 30 a second at 1280x720, to its line
being printed memory   the script's peak over a video of --minutes against that of its first minute,
with --fast faults   the script on an MJPEG server that drops, stalls, corrupts and refuses, for
--seconds

Exit code 1 where a figure misses what it must be: 30 frames a second, 100 ms for 95 % of lines, 5 %
more memory, and under faults no crash, no malformed line and no growth of memory, descriptors or
threads. Another job on the machine costs speed.

The picture is the shipped clip, scaled, with the shipped model. Linux, for what is read from /proc.
"""

import argparse
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax import cli, faces, labels, runtime
from fer_jax.errors import InputError
from fer_jax.video import overlay, record, stream

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "results" / "preprocessing_test" / "input_video.mp4"
SCRIPT = ROOT / "scripts" / "predict_live_stream.py"
RATE = 30  # frames per second of the synthetic sources
WARM_UP = 20  # looks that are not counted
# frames per second, milliseconds, and a share of memory
LEAST_RATE, MOST_LATENCY, MOST_GROWTH = 30, 100, 0.05
# descriptors or threads more than before: a connection that is just being replaced, and its decoder
SPARE = 4
_BIT = 32  # pixels: a frame's number is written into its upper row, a square per bit
_BITS = 10

EMOTION = rf"(?:no face|(?:person \d+ : )?(?:{'|'.join(name.capitalize() for name in labels.EMOTIONS)}) , (?:100|\d?\d)%)"
LINE = re.compile(rf"Reading video stream \.\.\.|Preprocessing \.\.\.|\d\d:\d\d:\d\ds : {EMOTION}|")


def main() -> int:
    arguments = parse_arguments()
    parts = {"speed": speed, "latency": latency, "memory": memory, "faults": faults}
    if unknown := set(arguments.parts) - parts.keys():
        raise InputError(f"parts must be among {', '.join(parts)}, received {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [parts[part](arguments, Path(folder)) for part in arguments.parts or parts]
    return max(outcomes)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="speed|latency|memory|faults")
    faces.add_detector(parser)
    parser.add_argument(
        "--frames", type=int, default=300, help="of speed and latency (default: 300)"
    )
    parser.add_argument("--minutes", type=float, default=30, help="of the long video (default: 30)")
    parser.add_argument("--seconds", type=float, default=600, help="of faults (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    return parser.parse_args()


def load_predictor() -> stream.Predict:
    runtime.configure()
    from fer_jax.predict import Predictor

    return Predictor()


def pictures(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """The clip's first frames, each with its number in the corner, on black of width and height
    `size`.
    """
    cv2, (width, height) = faces.opencv(), size
    with stream.Video(CLIP) as video:
        originals = [frame for _, (_, frame) in zip(range(count), video.frames(), strict=False)]
    wide = round(height * originals[0].shape[1] / originals[0].shape[0])
    drawn = np.zeros((len(originals), height, width, 3), np.uint8)
    for number, frame in enumerate(originals):
        drawn[number, :, (width - wide) // 2 : (width + wide) // 2] = cv2.resize(
            frame, (wide // 2 * 2, height)
        )
        for bit in range(_BITS):
            drawn[number, :_BIT, bit * _BIT : (bit + 1) * _BIT] = 255 * (number >> bit & 1)
    return list(drawn)


def number_of(frame: np.ndarray) -> int:
    """The number that `pictures` wrote into a frame."""
    squares = frame[_BIT // 4 : 3 * _BIT // 4, : _BITS * _BIT].reshape(_BIT // 2, _BITS, _BIT, 3)
    return sum(
        1 << bit for bit in range(_BITS) if squares[:, bit, _BIT // 4 : 3 * _BIT // 4].mean() > 127
    )


def speed(arguments: argparse.Namespace, folder: Path) -> int:
    """Each frame of a 1280x720 recording through all stages; prints the frames per second and
    milliseconds of each.

    1 if there are fewer than 30 frames a second.
    """
    path, shown = folder / "speed.mp4", pictures((1280, 720), 60)
    with record.VideoFile(path, RATE) as video:
        for index in range(arguments.frames + WARM_UP):
            video.write(index / RATE, shown[index % len(shown)])
    predictor, detector = (
        load_predictor(),
        faces.detector(arguments.detector, arguments.detector_model),
    )
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(stage: str, work: Callable):
        began = time.perf_counter()
        result = work()
        spent[stage].append(time.perf_counter() - began)
        return result

    found = 0
    with stream.Video(path) as video:
        frames = video.frames()
        for index in range(arguments.frames + WARM_UP):
            if index == WARM_UP:
                spent.clear()
                began, burnt = time.perf_counter(), time.process_time()
            _, frame = timed("decode", lambda: next(frames))
            boxes = timed("detect", lambda frame=frame: detector(frame))
            crops = timed(
                "crop", lambda frame=frame, boxes=boxes: [faces.crop(frame, box) for box in boxes]
            )
            said = timed("predict", lambda crops=crops: predictor(np.stack(crops)) if crops else [])
            seen = [
                stream.Prediction("happy", float(p.max()), p, b)
                for p, b in zip(said, boxes, strict=True)
            ]
            timed(
                "draw", lambda frame=frame, seen=seen: overlay.draw(frame, seen, status="00:00:00")
            )
            found += bool(boxes)
    rate = arguments.frames / (time.perf_counter() - began)
    # on a busy machine the only figure to compare
    cpu = 1000 * (time.process_time() - burnt) / arguments.frames
    stages = ", ".join(f"{stage} {1000 * np.mean(times):.1f}" for stage, times in spent.items())
    detected = found / (arguments.frames + WARM_UP)
    print(f"speed: {rate:.0f} frames/s at 1280x720 with {detector.name} (a face in {detected:.0%})")
    print(f"speed: ms a frame: {stages}; CPU time of all cores {cpu:.1f}")
    return int(rate < LEAST_RATE)


class Mjpeg(ThreadingHTTPServer):
    """A server of an endless MJPEG stream at `RATE`, on a free local port; `fault` is called before
    each frame.

    Attributes:
        sent: the time.monotonic() at which the newest frame of each number was sent.
        refusing: the time.monotonic() until which no one is served.
    """

    daemon_threads = True

    def __init__(
        self,
        shown: list[np.ndarray],
        fault: Callable[["Connection", bytes], bytes | None] = lambda _, whole: whole,
    ):
        cv2 = faces.opencv()
        self.pictures = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in shown]
        self.fault = fault
        self.sent: dict[int, float] = {}
        self.refusing = 0.0
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video.mjpg"

    @contextlib.contextmanager
    def serving(self) -> Iterator["Mjpeg"]:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.closing.set()
            self.shutdown()
            self.server_close()


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
    """Median and 95th percentile, in milliseconds, from sending a frame to its printed line; 1 if
    that is above 100.
    """
    predictor, detector = (
        load_predictor(),
        faces.detector(arguments.detector, arguments.detector_model),
    )
    late: list[float] = []
    with (
        Mjpeg(pictures((1280, 720), 120)).serving() as server,
        (folder / "lines.txt").open("w") as out,
    ):
        began = time.monotonic()
        with stream.Video(server.url) as video:
            for event in stream.watch(video, predictor, detector, every=0):
                print(stream.described(event, live=True), file=out, flush=True)
                late.append(time.monotonic() - server.sent[number_of(event.frame)])
                if len(late) == WARM_UP:
                    began = time.monotonic()
                if len(late) == arguments.frames + WARM_UP:
                    break
            rate = arguments.frames / (time.monotonic() - began)
    median, high = 1000 * np.percentile(late[WARM_UP:], [50, 95])
    print(
        f"latency: median {median:.0f} ms, 95th percentile {high:.0f} ms at {rate:.0f} lines/s of {RATE} frames/s"
    )
    return int(high > MOST_LATENCY)


def memory(arguments: argparse.Namespace, folder: Path) -> int:
    """The script's peak resident memory over a long recording; 1 if it is 5 % more than that of its
    first minute.

    Both in one process: from start to start the memory that the compiler leaves behind varies by
    more.
    """
    path, table, shown = folder / "long.mp4", folder / "faces.csv", pictures((320, 240), 300)
    with record.VideoFile(path, RATE) as video:
        for index in tqdm(range(round(60 * RATE * arguments.minutes)), "writing", disable=None):
            video.write(index / RATE, shown[index % len(shown)])
    process = start(arguments, folder, path, "--fast", "--csv", table, stdout=subprocess.DEVNULL)
    first_minute = peak = 0.0
    while process.poll() is None:
        peak = max(peak, usage(process.pid).memory)
        if reached(table) < 60:
            first_minute = peak
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(f"the script failed with {process.returncode}")
    growth = peak / first_minute - 1
    print(
        f"memory: peak of minute 1 {first_minute:.0f} MiB, of all {arguments.minutes:g} {peak:.0f}: {growth:+.1%}"
    )
    return int(growth > MOST_GROWTH)


def reached(table: Path) -> float:
    """The position, in seconds, of the last row of a table that is being written; 0 before there is
    one.
    """
    rows = table.read_text().splitlines()[1:] if table.exists() else []
    return float(rows[-1].split(",")[0]) if rows else 0.0


class Usage(NamedTuple):
    """What a process holds."""

    memory: float  # MiB, resident
    descriptors: int
    threads: int


def faults(arguments: argparse.Namespace, folder: Path) -> int:
    """1 if the script crashes, prints a line of another form, or holds more in the last third of
    the time than before.

    More is 5 % of memory, or `SPARE` descriptors or threads.
    """
    injected: dict[str, int] = defaultdict(int)
    usages: list[Usage] = []
    with Mjpeg(
        pictures((640, 480), 120), injector(random.Random(arguments.seed), injected)
    ).serving() as server:
        words = [
            "--every",
            "0.2",
            "--max-seconds",
            arguments.seconds,
            "--csv",
            folder / "faces.csv",
        ]
        with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
            process = start(arguments, folder, server.url, *words, stdout=out, stderr=err)
            deadline = time.monotonic() + 1.2 * arguments.seconds + 60
            with tqdm(total=round(arguments.seconds), unit="s", disable=None) as bar:
                while process.poll() is None and time.monotonic() < deadline:
                    usages.append(usage(process.pid))
                    time.sleep(1)
                    bar.update()
            stuck = process.poll() is None
            if stuck:
                process.kill()
            process.wait()
    return judge(process.returncode, usages, injected, folder)


def judge(returncode: int, usages: list[Usage], injected: dict[str, int], folder: Path) -> int:
    lines, said = (
        (folder / "out.txt").read_text().splitlines(),
        (folder / "err.txt").read_text().splitlines(),
    )
    bad = [line for line in lines if not LINE.fullmatch(line)]
    strange = [
        line
        for line in said
        if not re.fullmatch(r"http://\S+: (dropped, .*|back after .* s)", line)
    ]
    third = len(usages) // 3
    before, after = (most(part) for part in (usages[third : 2 * third + 1], usages[-third - 1 :]))
    growth = after.memory / before.memory - 1
    kept = max(after.descriptors - before.descriptors, after.threads - before.threads)
    looks, returns = (
        sum(" : " in line for line in lines),
        sum("back after" in line for line in said),
    )
    print(
        f"faults: {dict(injected)}; exit code {returncode}, {looks} looks, {returns} reconnections"
    )
    print(
        f"faults: {len(bad)} malformed lines, {len(strange)} strange messages {strange[:3]}, memory {growth:+.1%}"
    )
    print(
        f"faults: at most {before.descriptors} descriptors and {before.threads} threads, then {after[1]} and {after[2]}"
    )
    leaks = growth > MOST_GROWTH or kept > SPARE
    return int(returncode != 0 or bool(bad) or bool(strange) or leaks or looks == 0)


def most(usages: list[Usage]) -> Usage:
    """The most of each kind."""
    return Usage(*map(max, zip(*usages, strict=True)))


def injector(
    moments: random.Random, injected: dict[str, int]
) -> Callable[[Connection, bytes], bytes | None]:
    """A fault every two seconds or so: what becomes of a picture, None to drop the connection."""

    def fault(connection: Connection, picture: bytes) -> bytes | None:
        if moments.random() > 0.5 / RATE:
            return picture
        kind = moments.choice(["drop", "stall", "corrupt", "cut", "noise", "headers", "refuse"])
        injected[kind] += 1
        if kind == "stall":  # sometimes shorter than the reader's patience, sometimes longer
            connection.server.closing.wait(moments.uniform(0.5, 8))
            return picture
        if kind == "corrupt":
            broken = bytearray(picture)
            for _ in range(50):
                broken[moments.randrange(len(broken))] = moments.randrange(256)
            return bytes(broken)
        if kind == "cut":
            return picture[: moments.randrange(len(picture))]
        if kind == "noise":
            return moments.randbytes(2000)
        if kind == "headers":
            connection.wfile.write(b"\r\n--frame\r\nContent-Length: many\r\n\r\n")
            return picture
        if kind == "refuse":
            connection.server.refusing = time.monotonic() + moments.uniform(0.5, 6)
        return None

    return fault


def start(
    arguments: argparse.Namespace, folder: Path, source: object, *words: object, **streams: Any
) -> subprocess.Popen:
    """The script on `source`, with a compilation cache in `folder`."""
    command = [sys.executable, SCRIPT, "--source", source, "--detector", arguments.detector, *words]
    if arguments.detector_model:
        command += ["--detector-model", arguments.detector_model]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **cache}
    return subprocess.Popen(list(map(str, command)), env=environment, **streams)


def usage(pid: int) -> Usage:
    """What a process holds by now; nothing once it is gone."""
    with contextlib.suppress(OSError):
        process = Path(f"/proc/{pid}")
        status = (process / "status").read_text()
        memory, threads = (re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "Threads"))
        if memory and threads:
            return Usage(
                int(memory[1]) / 1024, len(list((process / "fd").iterdir())), int(threads[1])
            )
    return Usage(0.0, 0, 0)


if __name__ == "__main__":
    sys.exit(cli.run(main))
