import json
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS
from fer_jax.video import capture, record, report, summary, watch

HAPPY, SAD = [0.1, 0.0, 0.05, 0.7, 0.05, 0.06, 0.04], [0.1, 0.05, 0.05, 0.1, 0.45, 0.05, 0.2]
LEFT, RIGHT = faces.Face(20, 10, 24, 24), faces.Face(110, 12, 20, 28)


def summary_of(path):
    return summary.summarise(path, EMOTIONS, summary.measure_spacing(path, 1, 0.04))


@pytest.fixture
def video(write_video, tmp_path):
    return write_video(tmp_path / "interview.mp4", 40, 10, (160, 64))


def write_table(path, looks):
    """A person a second, sad and happy by turns."""
    with record.Table(path, EMOTIONS, valence=True) as table:
        for look in range(looks):
            emotion, probabilities = (("sad", SAD), ("happy", HAPPY))[look % 2]
            one = watch.Prediction(emotion, max(probabilities), np.array(probabilities), LEFT)
            table.write(watch.Event(look, (one,), np.empty(0), True, look))
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
            summary_of(path),
            EMOTIONS,
            summary.measure_spacing(path, 1, 0.04),
            tmp_path / "talk",
        )
    assert drawn == [(100, pytest.approx(1, abs=0.01), (0, 100)), (1200, 2, (0, 2400))]


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for looks in (500, 4000):
        path = write_table(tmp_path / "faces.csv", looks)
        tracemalloc.start()
        summary_of(path)
        report._curves(path, [1], 0, looks / 100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_report_of_a_video(scene, video, monkeypatch, tmp_path):
    out = tmp_path / "out"
    shown = []
    monkeypatch.setattr(report.tqdm, "update", lambda bar, seconds: shown.append(seconds))
    reader = scene([[(LEFT, HAPPY), (RIGHT, SAD)]] * 3 + [[(LEFT, SAD)]]).reader()
    figures = report.analyse(video, out, "talk", reader)
    names = [
        "talk.html",
        "talk_faces.csv",
        "talk_person1.png",
        "talk_person2.png",
        "talk_summary.json",
        "talk_summary.txt",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    # a bar that is hidden stays at nought
    assert shown == pytest.approx([0, 1, 2, 3], abs=0.01)
    assert json.loads((out / "talk_summary.json").read_text()) == figures
    assert figures["video"] == str(video) and figures["looks"] == 4
    assert len(pd.read_csv(out / "talk_faces.csv")) == 7
    assert (out / "talk_person1.png").read_bytes().startswith(b"\x89PNG")
    html = (out / "talk.html").read_text()
    assert "interview.mp4" in html and "Model vgg &amp; sons." in html
    assert len(re.findall('src="data:image/png', html)) == 2


def test_a_new_report_replaces_its_own_pictures_only(scene, video, tmp_path):
    others = [
        tmp_path / name for name in ("talk_person2_person1.png", "talk_person.png", "talk.txt")
    ]
    surplus = tmp_path / "talk_person7.png"
    for path in (*others, surplus):
        path.write_text("x")
    report.analyse(video, tmp_path, "talk", scene([[(LEFT, HAPPY)]] * 4).reader())
    assert surplus.exists()  # no report was here that could have made it
    report.analyse(video, tmp_path, "talk", scene([[(LEFT, HAPPY)]] * 4).reader())
    assert all(path.read_text() == "x" for path in others)
    assert not surplus.exists() and (tmp_path / "talk_person1.png").exists()


@pytest.mark.parametrize("end", ["_faces.csv", ".html"])
def test_a_file_of_somebody_elses_takes_the_name(tmp_path, end):
    (tmp_path / f"talk{end}").write_text("mine")
    assert report.names([tmp_path / "talk.mp4"], tmp_path) == ["talk-2"]


def test_a_failure_leaves_nothing_behind(scene, video, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read"):
        report.analyse(tmp_path / "gone.mp4", out, "gone", scene([]).reader())
    with pytest.raises(IndexError):  # the scene ends before the video does
        report.analyse(video, out, "talk", scene([[(LEFT, HAPPY)]] * 2).reader())
    assert not out.exists()


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


def test_unreadable_frames_are_no_report(scene, video, tmp_path, monkeypatch):
    monkeypatch.setattr(capture.Video, "frames", lambda *_: iter(()))
    with pytest.raises(InputError, match="not one of its frames can be decoded"):
        report.analyse(video, tmp_path / "out", "talk", scene([]).reader())
