import cv2
import numpy as np
import pytest

from fer_jax import faces
from fer_jax.video import gallery, watch

HAPPY, SAD = [0.1, 0.0, 0.05, 0.7, 0.05, 0.06, 0.04], [0.1, 0.05, 0.05, 0.1, 0.45, 0.05, 0.2]
LEFT = faces.Face(20, 10, 24, 24)


def of(turns):
    return [(stretch.emotion, stretch.start, stretch.looks) for stretch in turns.stretches]


def test_turning_points_are_where_an_emotion_began_and_show_its_surest_look(recorded):
    surer = [0, 0, 0, 0.9, 0.1, 0, 0]
    looks = [HAPPY, HAPPY, HAPPY, SAD, surer, HAPPY, SAD, SAD]
    turns = recorded([[(LEFT, look)] for look in looks])[1][1]
    # the sad look at 3 s is a slip
    assert of(turns) == [("happy", 0, 5), ("sad", 6, 2)] and turns.count == 2
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
def test_single_looks_are_slips(recorded, looks, expected):
    """By a letter each: happy, sad, neutral, and a dot for a look without a face."""
    known = {
        "h": [(LEFT, HAPPY)],
        "s": [(LEFT, SAD)],
        "n": [(LEFT, [0, 0, 0, 0, 0, 0, 1])],
        ".": [],
    }
    assert of(recorded([known[look] for look in looks])[1][1]) == expected


def test_thumbnails_are_bounded_whatever_comes():
    """Every look another person and every second look another emotion; how many turns there were is
    not forgotten.
    """
    seen, frame = gallery.Gallery(), np.full((60, 160, 3), 99, np.uint8)
    for look in range(300):
        new = watch.Prediction("sad", 0.5, np.array(SAD), LEFT, look)
        old = new._replace(emotion=("sad", "happy")[look // 2 % 2], person=-1)
        seen.see(watch.Event(look, (new, old), frame, True, look))
    turns = seen.turns()
    assert len(turns) <= 2 * gallery.MAX_PEOPLE
    assert [stretch.looks for stretch in turns[-1].stretches] == [2] * 8
    assert turns[-1].count == 150
