import csv
import json
import re
import tracemalloc

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS, FERPLUS_EMOTIONS
from fer_jax.video import report, stream

HAPPY, SAD = [0.1, 0.0, 0.05, 0.7, 0.05, 0.06, 0.04], [0.1, 0.05, 0.05, 0.1, 0.45, 0.05, 0.2]
LEFT, RIGHT = faces.Box(20, 10, 24, 24), faces.Box(110, 12, 20, 28)


class Scene:
    """A detector and a predictor of a video whose k-th look shows the k-th list of (box,
    probabilities).
    """

    def __init__(self, looks, emotions=EMOTIONS):
        self.looks, self.next, self.emotions = looks, 0, emotions

    def detector(self, frame):
        self.shown = self.looks[self.next]
        self.next += 1
        return [box for box, _ in self.shown]

    def predict(self, crops):
        assert crops.shape == (len(self.shown), 48, 48) and crops.dtype == np.uint8
        return np.array([probabilities for _, probabilities in self.shown], np.float32)

    def reader(self, every=1.0):
        return report.Reader(self.predict, self.emotions, self.detector, every, "Model vgg & sons.")


def frames(times):
    return [(time, np.full((60, 160, 3), 99, np.uint8)) for time in times]


def record(tmp_path, looks, times=None, emotions=EMOTIONS):
    path = tmp_path / "faces.csv"
    times = range(len(looks)) if times is None else times
    turns = report.record(frames(times), Scene(looks, emotions).reader(), path)
    return path, turns


def summarise(path, every=1.0, duration=None, frame=0.04):
    return report.summarise(path, EMOTIONS, report.measure_spacing(path, every, frame), duration)


def numbers_in(path):
    return [row.person for row in report.read_rows(path)]


def write_video(path, seconds=4, rate=10):
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, (160, 64)
    )
    for _ in range(seconds * rate):
        writer.write(np.full((64, 160, 3), 99, np.uint8))
    writer.release()
    return path


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "interview.mp4")


def test_table_has_a_row_for_each_face_and_one_for_a_look_without(tmp_path):
    path, _ = record(
        tmp_path, [[(LEFT, HAPPY), (RIGHT, SAD)], [], [(LEFT, SAD)]], [0.0, 0.5, 1.0004]
    )
    with path.open(newline="") as file:
        header, first, second, nobody, last = csv.reader(file)
    expected = "time,person,x,y,w,h,angry,disgust,fear,happy,sad,surprise,neutral,emotion,confidence,valence"
    assert header == expected.split(",")
    numbers = [f"{value:.5f}" for value in HAPPY]
    # .7 - .1 - .05 - .05
    assert first == ["0.000", "1", "20", "10", "24", "24", *numbers, "happy", "0.70000", "0.50000"]
    assert second[:6] == ["0.000", "2", "110", "12", "20", "28"] and second[-3:] == [
        "sad",
        "0.45000",
        "-0.55000",
    ]
    assert nobody == ["0.500"] + [""] * 15
    assert last[:2] == ["1.000", "1"]


def test_table_of_a_network_with_contempt(tmp_path):
    path, _ = record(tmp_path, [[(LEFT, [0.0] * 7 + [1.0])]], emotions=FERPLUS_EMOTIONS)
    (row,) = report.read_rows(path)
    assert (row.emotion, row.probabilities.tolist(), row.valence) == ("contempt", [0] * 7 + [1], -1)


def test_a_person_keeps_the_number_through_a_gap_and_gets_a_new_one_after_a_long_one(tmp_path):
    looks = [[(LEFT, SAD)]] + [[]] * 2 + [[(LEFT, SAD)]] + [[]] * 3 + [[(LEFT, SAD)]]
    assert numbers_in(record(tmp_path, looks)[0]) == [1, 0, 0, 1, 0, 0, 0, 2]


def test_summary_is_what_a_hand_counts(tmp_path):
    """Person 1: happy happy - sad sad sad happy, person 2 in one look, ten looks half a second
    apart.
    """
    one, two = (LEFT, HAPPY), (RIGHT, HAPPY)
    sad = (LEFT, SAD)
    looks = [[one], [one], [], [sad], [sad, two], [sad], [one], [], [], []]
    path, _ = record(tmp_path, looks, [k / 2 for k in range(10)])
    summary = summarise(path, every=0.5)
    assert (
        summary["looks"] == 10
        and summary["seconds"] == 5
        and summary["step"] == 0.5
        and summary["start"] == 0
    )
    assert summary["share_without_face"] == 0.4
    assert summary["share_unsure"] == pytest.approx(3 / 7, abs=1e-4)
    first, second = summary["people"]
    assert (first["person"], first["looks"], first["seconds"], first["first"], first["last"]) == (
        1,
        6,
        3,
        0,
        3,
    )
    assert first["share"] == {**dict.fromkeys(EMOTIONS, 0), "happy": 0.5, "sad": 0.5}
    assert first["share_sure"] == {**dict.fromkeys(EMOTIONS, 0), "happy": 0.5}
    assert first["longest_run"] == {"emotion": "sad", "start": 1.5, "seconds": 1.5}
    # one change in the four steps of half a second that join two looks
    assert first["changes_per_minute"] == 30
    assert first["mean_valence"] == pytest.approx((0.5 - 0.55) / 2, abs=1e-4)
    assert first["mean_probability"]["happy"] == pytest.approx(0.4) and first["share_unsure"] == 0.5
    assert second["person"] == 2 and second["changes_per_minute"] is None
    json.dumps(summary)
    shorter, wrong = (summarise(path, 0.5, stated) for stated in (4.8, 1.0))
    # the last look is at 4.5 s, whatever the file states
    assert shorter["seconds"] == 4.8 and wrong["seconds"] == 4.5
    assert (
        "person 1: seen for 3.0 s; happy 50%, sad 50%; longest run: sad, 1.5 s from 00:00:01"
        in report.describe(summary)
    )


def test_a_gap_ends_a_run(tmp_path):
    looks = [[(LEFT, SAD)], [(LEFT, SAD)], [], [(LEFT, SAD)]]
    (person,) = summarise(record(tmp_path, looks)[0])["people"]
    assert person["longest_run"]["seconds"] == 2


def test_an_hour_left_out_of_the_recordings_own_times_is_not_time_seen(tmp_path):
    """A minute, an hour's gap, a minute: two people, as nobody is recognised after it, each seen
    for a minute.
    """
    times = [*range(60), *range(3660, 3720)]
    summary = summarise(record(tmp_path, [[(LEFT, SAD)]] * 120, times)[0])
    assert (summary["looks"], summary["step"], summary["seconds"]) == (120, 1, 3720)
    assert [
        (person["seconds"], person["longest_run"]["seconds"]) for person in summary["people"]
    ] == [(60, 60)] * 2


def test_a_gap_in_the_recordings_own_times_ends_a_run(tmp_path):
    looks = [[(LEFT, SAD)]] * 3 + [[(LEFT, HAPPY)]] + [[(LEFT, SAD)]]
    # gaps that a person is followed through
    (person,) = summarise(record(tmp_path, looks, [0, 1, 4, 7, 8])[0])["people"]
    assert person["seconds"] == 5
    assert person["longest_run"] == {"emotion": "sad", "start": 0, "seconds": 2}
    # of the two steps of a second that join two looks, one is a change
    assert person["changes_per_minute"] == 30


@pytest.mark.parametrize(
    ("rate", "every"), [(24, 0.05), (24, 0.1), (30, 0.04), (29.97, 0.0333), (5, 0.05), (25, 1.0)]
)
def test_frames_that_do_not_fit_the_period_are_no_gaps(tmp_path, rate, every):
    """Of 24 frames a second and looks every 0.05 s, one step in five is twice as long as the
    others.
    """
    times = list(stream.sample((k / rate for k in range(60 * max(1, round(rate * every)))), every))
    path, _ = record(tmp_path, [[(LEFT, SAD)]] * len(times), times)
    summary = summarise(path, every, frame=1 / rate)
    (person,) = summary["people"]
    mean = times[-1] / (len(times) - 1)
    assert summary["step"] == pytest.approx(mean, abs=2e-4)
    assert (
        person["longest_run"]["seconds"]
        == person["seconds"]
        == pytest.approx(mean * len(times), abs=0.01)
    )


def test_summary_of_a_recording_without_a_face(tmp_path):
    summary = summarise(record(tmp_path, [[]] * 3)[0])
    assert (
        summary["share_without_face"] == 1
        and summary["people"] == []
        and summary["share_unsure"] is None
    )
    assert (
        report.describe(summary)
        == "3.0 s in 3 looks, 0 people, 100.0% of the time without a face\n"
    )


def found(turns):
    return [(stretch.emotion, stretch.start, stretch.looks) for stretch in turns.stretches]


def test_turning_points_are_where_an_emotion_began_and_show_its_surest_look(tmp_path):
    surer = [0, 0, 0, 0.9, 0.1, 0, 0]
    looks = [HAPPY, HAPPY, HAPPY, SAD, surer, HAPPY, SAD, SAD]
    turns = record(tmp_path, [[(LEFT, look)] for look in looks])[1][1]
    # the sad look at 3 s is a slip
    assert found(turns) == [("happy", 0, 5), ("sad", 6, 2)] and turns.count == 2
    happy = turns.stretches[0]
    assert happy.confidence == pytest.approx(0.9) and happy.surest == 4
    thumbnail = cv2.imdecode(np.frombuffer(happy.thumbnail, np.uint8), cv2.IMREAD_COLOR)
    assert thumbnail is not None and thumbnail.shape == (120, 120, 3)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("h", [("happy", 0, 1)]),
        ("hsh", [("happy", 0, 1), ("sad", 1, 1), ("happy", 2, 1)]),  # nothing steadier to show
        ("shh", [("happy", 1, 2)]),
        ("hhnsshh", [("happy", 0, 2), ("sad", 3, 2), ("happy", 5, 2)]),
        ("hhsnsnn", [("happy", 0, 2), ("neutral", 5, 2)]),
        ("hhs.hs", [("happy", 0, 3)]),
    ],
)
def test_single_looks_are_slips(tmp_path, looks, expected):
    """By a letter each: happy, sad, neutral, and a dot for a look without a face."""
    known = {
        "h": [(LEFT, HAPPY)],
        "s": [(LEFT, SAD)],
        "n": [(LEFT, [0, 0, 0, 0, 0, 0, 1])],
        ".": [],
    }
    assert found(record(tmp_path, [known[look] for look in looks])[1][1]) == expected


def test_thumbnails_are_bounded_whatever_comes():
    """Every look another person and every second look another emotion; how many turns there were is
    not forgotten.
    """
    gallery = report._Gallery()
    frame = frames([0])[0][1]
    for look in range(300):
        gallery.see(look, look, "sad", 0.5, frame, LEFT)
        gallery.see(-1, look, ("sad", "happy")[look // 2 % 2], 0.5, frame, LEFT)
    turns = gallery.turns()
    assert len(turns) <= 2 * report.MAX_PEOPLE
    assert len(turns[-1].stretches) == 8 and all(
        stretch.looks == 2 for stretch in turns[-1].stretches
    )
    assert turns[-1].count == 150


def write_table(path, looks):
    """A person a second, sad and happy by turns."""
    rows = [report._row(k, 1, LEFT, np.array((SAD, HAPPY)[k % 2]), EMOTIONS) for k in range(looks)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([report.columns(EMOTIONS), *rows])
    return path


def test_timeline_of_many_looks_is_drawn_from_means(tmp_path):
    path = write_table(tmp_path / "faces.csv", 100)
    ((times, means),) = report._curves(path, [1], 0, 8).values()
    assert times.tolist() == list(range(0, 100, 8))
    np.testing.assert_allclose(means, np.tile(np.mean([SAD, HAPPY], axis=0), (13, 1)))
    ((times, single),) = report._curves(path, [1], 0, 0).values()
    assert times.tolist() == list(range(100))
    np.testing.assert_allclose(single, [SAD, HAPPY] * 50)


def test_pictures_of_a_long_recording_are_drawn_from_bins(tmp_path, monkeypatch):
    drawn = []

    def draw(times, means, emotions, width, span):
        drawn.append((len(times), width, span))
        return Figure()

    monkeypatch.setattr(report.plots, "emotion_timeline", draw)
    for looks in (100, 2400):
        path = write_table(tmp_path / "faces.csv", looks)
        report._draw_people(
            path,
            summarise(path),
            EMOTIONS,
            report.measure_spacing(path, 1, 0.04),
            tmp_path / "talk",
        )
    assert drawn == [(100, pytest.approx(1, abs=0.01), (0, 100)), (1200, 2, (0, 2400))]


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for looks in (500, 4000):
        path = write_table(tmp_path / "faces.csv", looks)
        tracemalloc.start()
        summarise(path)
        report._curves(path, [1], 0, looks / 100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_report_of_a_video(video, tmp_path):
    out = tmp_path / "out"
    seconds = []
    scene = Scene([[(LEFT, HAPPY), (RIGHT, SAD)]] * 3 + [[(LEFT, SAD)]])
    summary = report.analyse(video, out, "talk", scene.reader(), seconds.append)
    names = [
        "talk.html",
        "talk_faces.csv",
        "talk_person1.png",
        "talk_person2.png",
        "talk_summary.json",
        "talk_summary.txt",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sum(seconds) == pytest.approx(3, abs=0.01)  # the last look's time
    assert json.loads((out / "talk_summary.json").read_text()) == summary
    assert summary["video"] == str(video) and summary["looks"] == 4
    assert len(pd.read_csv(out / "talk_faces.csv")) == 7
    assert (out / "talk_person1.png").read_bytes().startswith(b"\x89PNG")
    html = (out / "talk.html").read_text()
    assert "interview.mp4" in html and "Model vgg &amp; sons." in html
    assert len(re.findall('src="data:image/png', html)) == 2


def test_a_new_report_replaces_its_own_pictures_only(video, tmp_path):
    others = [
        tmp_path / name for name in ("talk_person2_person1.png", "talk_person.png", "talk.txt")
    ]
    surplus = tmp_path / "talk_person7.png"
    for path in (*others, surplus):
        path.write_text("x")
    report.analyse(video, tmp_path, "talk", Scene([[(LEFT, HAPPY)]] * 4).reader())
    assert surplus.exists()  # no report was here that could have made it
    report.analyse(video, tmp_path, "talk", Scene([[(LEFT, HAPPY)]] * 4).reader())
    assert all(path.read_text() == "x" for path in others)
    assert not surplus.exists() and (tmp_path / "talk_person1.png").exists()


@pytest.mark.parametrize("end", ["_faces.csv", ".html"])
def test_a_file_of_somebody_elses_takes_the_name(tmp_path, end):
    (tmp_path / f"talk{end}").write_text("mine")
    assert report.names([tmp_path / "talk.mp4"], tmp_path) == ["talk-2"]


def test_a_failure_leaves_nothing_behind(video, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read"):
        report.analyse(tmp_path / "gone.mp4", out, "gone", Scene([]).reader())
    with pytest.raises(IndexError):  # the scene ends before the video does
        report.analyse(video, out, "talk", Scene([[(LEFT, HAPPY)]] * 2).reader())
    assert list(out.iterdir()) == []


def test_names_do_not_collide(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    paths = [tmp_path / name for name in ("a/talk.mp4", "b/talk.mp4", "Talk.mov", "talk-2.mp4")]
    assert report.names(paths, out) == ["talk", "talk-2", "Talk-3", "talk-2-2"]
    for text in ("[]", "{}", "no JSON", json.dumps({"video": "/elsewhere/talk.mp4"})):
        (out / "talk_summary.json").write_text(text)
        assert report.names(paths[:1], out) == ["talk-2"]
    (out / "talk_summary.json").write_text(json.dumps({"video": str(paths[1])}))
    assert report.names([paths[1], paths[0]], out) == ["talk", "talk-2"]
    assert report.names([paths[0], paths[1]], out) == ["talk-2", "talk"]


def test_what_a_model_states_of_itself():
    stated = report.describe_model(
        {"name": "vgg", "protocol": "train-only", "best": {"holdout_accuracy": 0.65459}}
    )
    assert stated.startswith("Model vgg, protocol train-only. It names 65.5%")
    for metadata in (
        {},
        {"name": 3, "best": 4},
        {"best": {"holdout_accuracy": "high"}},
        {"best": {"holdout_accuracy": 65.0}},
    ):
        assert report.describe_model(metadata).startswith(
            "A model without a name. Its file states no measured accuracy"
        )


def test_unreadable_frames_are_no_report(video, tmp_path, monkeypatch):
    monkeypatch.setattr(report.stream.Video, "frames", lambda self, every: iter(()))
    with pytest.raises(InputError, match="not one of its frames can be decoded"):
        report.analyse(video, tmp_path / "out", "talk", Scene([]).reader())
