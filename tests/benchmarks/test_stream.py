import itertools
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from fer_jax.video import capture

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "stream.py"


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("benchmarks/stream.py")


def test_a_picture_carries_its_number_through_jpeg(benchmark):
    import cv2

    shown = benchmark.pictures((640, 480), 70)
    assert all(picture.shape == (480, 640, 3) for picture in shown)
    for number, picture in enumerate(shown):
        encoded = cv2.imencode(".jpg", picture)[1]
        assert benchmark.number_of(cv2.imdecode(encoded, cv2.IMREAD_COLOR)) == number


def test_the_form_of_a_line(benchmark):
    for line in (
        "",
        "Preprocessing ...",
        "11:11:12s : no face",
        "11:11:12s : Sad , 61%",
        "11:11:12s : person 12 : Happy , 100%",
    ):
        assert benchmark.LINE.fullmatch(line)
    for line in (
        "Preprocessing",
        "11:11s : no face",
        "11:11:12s : Sad , 161%",
        "11:11:12s : Glad , 61%",
        "Traceback",
    ):
        assert not benchmark.LINE.fullmatch(line)


def test_the_judge_sees_crashes_leaks_and_bad_lines(benchmark, tmp_path, capsys):
    def judged(returncode=0, out="11:11:12s : no face\n", err="", usages=((100.0, 20, 8),) * 9):
        (tmp_path / "out.txt").write_text(out)
        (tmp_path / "err.txt").write_text(err)
        return benchmark.judge(returncode, usages, {}, tmp_path)

    url = "http://127.0.0.1:1/v"
    assert judged() == 0
    assert judged(err=f"{url}: dropped, reconnecting ...\n{url}: back after 0.3 s\n") == 0
    assert judged(returncode=1) == judged(out="") == judged(out="11:11:12s : no") == 1
    assert judged(err="Traceback") == 1
    for growing in ((10, 0, 0), (0, 1, 0), (0, 0, 1)):  # MiB, descriptors or threads a second
        usages = [np.array([100, 20, 8]) + second * np.array(growing) for second in range(30)]
        assert judged(usages=usages) == 1


def test_usage_is_that_of_the_process(benchmark, tmp_path):
    before = benchmark.usage(os.getpid())
    files, stop = [(tmp_path / str(number)).open("w") for number in range(7)], threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    after = benchmark.usage(os.getpid())
    stop.set()
    for each in files:
        each.close()
    assert [after[1] - before[1], after[2] - before[2]] == [7, 3]
    assert before[0] > 10  # MiB
    assert benchmark.usage(2**30) == (0, 0, 0)


def test_a_minute_is_told_by_the_time_in_the_table_not_by_its_rows(benchmark, tmp_path):
    path = tmp_path / "faces.csv"
    assert benchmark.reached(path) == 0
    path.write_text("time,person,x\n")
    assert benchmark.reached(path) == 0
    path.write_text("time,person,x\n0.000,1,5\n59.967,1,5\n59.967,2,5\n")
    assert benchmark.reached(path) == 59.967
    path.write_text("time,person,x\n0.000,1,5\n61.000,,\n")
    assert benchmark.reached(path) == 61


@pytest.fixture
def quick(monkeypatch, benchmark):
    """Four times the frames a second, and a tenth of a second between attempts to reconnect."""
    monkeypatch.setattr(benchmark, "RATE", 120)
    monkeypatch.setattr(capture, "_BACKOFF", (0.1,) * 8)


def test_a_real_stream_that_fails_is_read_in_order(benchmark, quick, capsys):
    """Over HTTP: every fault but silence, which takes seconds. What still comes is newer than what
    came before.
    """
    faults = iter([*[None] * 20, "noise", *[None] * 5, "cut", *[None] * 20, "drop", *[None] * 60])
    happened = []

    def fault(connection, picture):
        happened.append(next(faults, None))
        if happened[-1] == "drop":
            return None
        return {"noise": b"no picture" * 50, "cut": picture[: len(picture) // 3]}.get(
            happened[-1], picture
        )

    shown = benchmark.pictures((320, 240), 200)
    with benchmark.Mjpeg(shown, fault) as server, benchmark.Video(server.url) as video:
        assert video.live and video.duration is None
        numbers, times, dropped_at = [], [], None
        for moment, frame in video.frames():
            assert frame.shape == (240, 320, 3)
            numbers.append(benchmark.number_of(frame))
            times.append(moment)
            if dropped_at is None and "drop" in happened:
                dropped_at = len(numbers)
            if dropped_at is not None and len(numbers) == dropped_at + 10:
                break
    assert times == sorted(times)
    # the server begins anew
    assert sum(later < earlier for earlier, later in itertools.pairwise(numbers)) <= 1
    said = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^\S+ |[\d.]+ s$", "", line) for line in said] == [
        "dropped, reconnecting ...",
        "back after ",
    ]
