import io

import numpy as np
import pytest

from fer_jax import plots
from fer_jax.labels import EMOTIONS


def timeline(times, probabilities, width=1.0, span=(0.0, 10.0)):
    return plots.emotion_timeline(
        np.array(times, float), np.array(probabilities), EMOTIONS, width, span
    )


def heights(axes, moment):
    """How much of the vertical line at a time each emotion's area covers."""
    line = [(moment, y) for y in np.linspace(0.0005, 0.9995, 1000)]
    areas = [area for area in axes.collections if area.get_label() in EMOTIONS]
    return {
        area.get_label(): sum(path.contains_points(line).mean() for path in area.get_paths())
        for area in areas
    }


def test_timeline_draws_each_look_and_nothing_in_a_gap():
    sure, even = [0, 0, 0, 1.0, 0, 0, 0], [1 / 7] * 7
    figure = timeline([0, 1, 4], [sure, even, sure])
    stacked, valence, doubt = figure.axes
    for moment, expected in ((0.4, sure), (1.6, even), (3, [0] * 7), (4.5, sure), (7, [0] * 7)):
        assert heights(stacked, moment) == pytest.approx(
            dict(zip(EMOTIONS, expected, strict=True)), abs=0.002
        )
    (line,) = (line for line in valence.lines if len(line.get_xdata()) > 2)
    x, y = line.get_data()
    steps = [(a, b, round(v, 4)) for a, b, v in zip(x[::3], x[1::3], y[::3], strict=True)]
    assert steps == [(0, 1, 1), (1, 2, round(-3 / 7, 4)), (4, 5, 1)]
    assert np.isnan(y[2::3]).tolist() == [False, True, False]  # the line is cut before the gap
    uncertain = doubt.collections[-1].get_paths()[0].vertices
    assert uncertain[:, 1].max() == pytest.approx(1)  # an even guess


def test_timeline_fades_what_is_unsure():
    (stacked, *_) = timeline(
        [0, 1, 2], [[0, 0, 0, 0.8, 0.2, 0, 0], [0, 0, 0, 0.5, 0.5, 0, 0], [1 / 7] * 7]
    ).axes
    fades = stacked.collections[-1].get_facecolors()[:, 3]
    assert fades[0] == 0 and fades[0] < fades[1] < fades[2]


def test_timeline_is_marked_in_minutes_and_seconds():
    stacked, *_ = timeline([0, 1500], np.eye(7)[[3, 4]], width=1500, span=(0, 3000)).axes
    stacked.figure.savefig(io.BytesIO())
    assert [stacked.xaxis.get_major_formatter()(tick, 0) for tick in stacked.get_xticks()[1:4]] == [
        "0:00",
        "5:00",
        "10:00",
    ]


def test_moments_stand_side_by_side_with_box_face_and_probabilities():
    frame = np.zeros((90, 120, 3), np.uint8)
    face = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    moments = [
        plots.Moment(title, frame, (10, 20, 30, 40), face, np.eye(7)[k])
        for k, title in enumerate(("first", "second"))
    ]
    axes = plots.predictions(moments, EMOTIONS).axes
    assert [each.get_title() for each in axes[:2]] == ["first", "second"]
    (box,) = axes[0].patches
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (10, 20, 30, 40)
    np.testing.assert_array_equal(axes[3].images[0].get_array(), face)
    assert [bar.get_width() for bar in axes[5].patches] == [0, 1, 0, 0, 0, 0, 0]
