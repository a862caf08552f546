import json

import pytest

from fer_jax import faces
from fer_jax.labels import EMOTIONS, FERPLUS_EMOTIONS
from fer_jax.video import times
from fer_jax.video.summary import describe, measure_spacing, read_rows, summarise

HAPPY, SAD = [0.1, 0.0, 0.05, 0.7, 0.05, 0.06, 0.04], [0.1, 0.05, 0.05, 0.1, 0.45, 0.05, 0.2]
LEFT, RIGHT = faces.Face(20, 10, 24, 24), faces.Face(110, 12, 20, 28)


def numbers_in(path):
    return [row.person for row in read_rows(path)]


def summary_of(path, every=1.0, duration=None, frame=0.04):
    return summarise(path, EMOTIONS, measure_spacing(path, every, frame), duration)


def test_table_of_a_network_with_contempt(recorded):
    path, _ = recorded([[(LEFT, [0.0] * 7 + [1.0])]], emotions=FERPLUS_EMOTIONS)
    (row,) = read_rows(path)
    assert (row.emotion, row.probabilities.tolist(), row.valence) == ("contempt", [0] * 7 + [1], -1)


def test_a_person_keeps_the_number_through_a_gap_and_gets_a_new_one_after_a_long_one(recorded):
    looks = [[(LEFT, SAD)]] + [[]] * 2 + [[(LEFT, SAD)]] + [[]] * 3 + [[(LEFT, SAD)]]
    assert numbers_in(recorded(looks)[0]) == [1, 0, 0, 1, 0, 0, 0, 2]


def test_summary_is_what_a_hand_counts(recorded):
    """Person 1: happy happy - sad sad sad happy, person 2 in one look, ten looks half a second
    apart.
    """
    one, two = (LEFT, HAPPY), (RIGHT, HAPPY)
    sad = (LEFT, SAD)
    looks = [[one], [one], [], [sad], [sad, two], [sad], [one], [], [], []]
    path, _ = recorded(looks, [k / 2 for k in range(10)])
    summary = summary_of(path, every=0.5)
    head = [summary[name] for name in ("looks", "seconds", "step", "start")]
    assert head == [10, 5, 0.5, 0]
    assert summary["share_without_face"] == 0.4
    assert summary["share_unsure"] == pytest.approx(3 / 7, abs=1e-4)
    first, second = summary["people"]
    head = [first[name] for name in ("person", "looks", "seconds", "first", "last")]
    assert head == [1, 6, 3, 0, 3]
    assert first["share"] == {**dict.fromkeys(EMOTIONS, 0), "happy": 0.5, "sad": 0.5}
    assert first["share_sure"] == {**dict.fromkeys(EMOTIONS, 0), "happy": 0.5}
    assert first["longest_run"] == {"emotion": "sad", "start": 1.5, "seconds": 1.5}
    # one change in the four steps of half a second that join two looks
    assert first["changes_per_minute"] == 30
    assert first["mean_valence"] == pytest.approx((0.5 - 0.55) / 2, abs=1e-4)
    assert first["mean_probability"]["happy"] == pytest.approx(0.4) and first["share_unsure"] == 0.5
    assert second["person"] == 2 and second["changes_per_minute"] is None
    json.dumps(summary)
    shorter, wrong = (summary_of(path, 0.5, stated) for stated in (4.8, 1.0))
    # the last look is at 4.5 s, whatever the file states
    assert shorter["seconds"] == 4.8 and wrong["seconds"] == 4.5
    line = "person 1: seen for 3.0 s; happy 50%, sad 50%; longest run: sad, 1.5 s from 00:00:01"
    assert line in describe(summary)


def test_a_gap_ends_a_run(recorded):
    looks = [[(LEFT, SAD)], [(LEFT, SAD)], [], [(LEFT, SAD)]]
    (person,) = summary_of(recorded(looks)[0])["people"]
    assert person["longest_run"]["seconds"] == 2


def test_an_hour_left_out_of_the_recordings_own_times_is_not_time_seen(recorded):
    """A minute, an hour's gap, a minute: two people, as nobody is recognised after it, each seen
    for a minute.
    """
    times = [*range(60), *range(3660, 3720)]
    summary = summary_of(recorded([[(LEFT, SAD)]] * 120, times)[0])
    assert (summary["looks"], summary["step"], summary["seconds"]) == (120, 1, 3720)
    assert [
        (person["seconds"], person["longest_run"]["seconds"]) for person in summary["people"]
    ] == [(60, 60)] * 2


def test_a_gap_in_the_recordings_own_times_ends_a_run(recorded):
    looks = [[(LEFT, SAD)]] * 3 + [[(LEFT, HAPPY)]] + [[(LEFT, SAD)]]
    # gaps that a person is followed through
    (person,) = summary_of(recorded(looks, [0, 1, 4, 7, 8])[0])["people"]
    assert person["seconds"] == 5
    assert person["longest_run"] == {"emotion": "sad", "start": 0, "seconds": 2}
    # of the two steps of a second that join two looks, one is a change
    assert person["changes_per_minute"] == 30


@pytest.mark.parametrize(
    ("rate", "every"), [(24, 0.05), (24, 0.1), (30, 0.04), (29.97, 0.0333), (5, 0.05), (25, 1.0)]
)
def test_frames_that_do_not_fit_the_period_are_no_gaps(recorded, rate, every):
    """Of 24 frames a second and looks every 0.05 s, one step in five is twice as long as the
    others.
    """
    frames = 60 * max(1, round(rate * every))
    moments = list(filter(times.Periods(every), (k / rate for k in range(frames))))
    path, _ = recorded([[(LEFT, SAD)]] * len(moments), moments)
    summary = summary_of(path, every, frame=1 / rate)
    (person,) = summary["people"]
    mean = moments[-1] / (len(moments) - 1)
    assert summary["step"] == pytest.approx(mean, abs=2e-4)
    assert person["longest_run"]["seconds"] == person["seconds"]
    assert person["seconds"] == pytest.approx(mean * len(moments), abs=0.01)


def test_summary_of_a_recording_without_a_face(recorded):
    summary = summary_of(recorded([[]] * 3)[0])
    assert (
        summary["share_without_face"] == 1
        and summary["people"] == []
        and summary["share_unsure"] is None
    )
    assert describe(summary) == "3.0 s in 3 looks, 0 people, 100.0% of the time without a face\n"
