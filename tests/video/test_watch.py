import numpy as np
import pytest

from fer_jax import faces
from fer_jax.labels import EMOTIONS
from fer_jax.video import capture, watch

FRAME = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
BOXES = [faces.Face(40, 40, 50, 50), faces.Face(0, 0, 20, 20)]
HAPPY = np.array([0.1, 0, 0.05, 0.6, 0.2, 0.05, 0], np.float32)
SAD = np.array([0.1, 0, 0.05, 0.2, 0.6, 0.05, 0], np.float32)


class Answers:
    """A predictor that calls a function."""

    emotions = EMOTIONS

    def __init__(self, function):
        self.function = function

    def __call__(self, batch):
        return self.function(batch)


NOBODY = Answers(lambda batch: pytest.fail("without a face the network is not asked"))


def test_a_live_source_is_stamped_by_the_clock_and_measured_by_what_passes(camera):
    """The clock is set back by an hour between two looks."""
    camera, video = camera
    events = watch.watch(video, NOBODY, lambda _: [])
    seen = []
    for ahead in (0.0, -3600.0):
        camera.clock.ahead = ahead
        camera.make(25)
        seen.append(next(events))
    first, second = seen
    assert second.moment - first.moment == pytest.approx(1.0)
    assert second.time - first.time == pytest.approx(1.0 - 3600)
    assert second.time == pytest.approx(camera.clock.now - 3600)


def test_who_waits_for_a_silent_source_is_called_and_may_end_it(camera):
    camera, video = camera
    calls = []

    def idle():
        calls.append(len(calls))
        if len(calls) == 3:
            camera.make(1)
        return len(calls) < 6

    events = watch.watch(video, NOBODY, lambda _: [], every=0, idle=idle)
    assert next(events).frame[0, 0, 0] == 1
    assert len(calls) >= 3
    assert list(events) == []
    assert len(calls) == 6


@pytest.fixture
def watched(recording):
    """The events of a recording in which the predictor and the detector answer from lists."""

    def watched(moments, probabilities, boxes, **options):
        probabilities, boxes = iter(probabilities), iter(boxes)
        predictor = Answers(lambda batch: np.array(next(probabilities)))
        video = recording(moments, FRAME)
        looks = watch.watch(video, predictor, lambda _: next(boxes), real_time=False, **options)
        return list(looks)

    return watched


def test_watch_predicts_all_faces_in_one_batch(recording):
    seen = []

    def predict(batch):
        seen.append(batch)
        return np.stack([HAPPY, SAD])

    boxes = iter([BOXES, []])
    looks = watch.watch(
        recording([0.0, 1.0], FRAME), Answers(predict), lambda _: next(boxes), real_time=False
    )
    event, empty = looks
    assert [(one.emotion, one.box) for one in event.predictions] == [
        ("happy", BOXES[0]),
        ("sad", BOXES[1]),
    ]
    np.testing.assert_array_equal([one.probabilities for one in event.predictions], [HAPPY, SAD])
    (batch,) = seen  # without a face the network is not asked
    np.testing.assert_array_equal(batch, [faces.crop(FRAME, box) for box in BOXES])
    assert empty.predictions == ()


def test_emotions_are_those_of_the_predictor_and_so_are_those_of_hacked_faces(recording):
    predictor = Answers(lambda batch: np.array([[[0.2, 0.8], [0.9, 0.1]]]))
    predictor.emotions = ("calm", "bored")
    video = recording([0.0], FRAME)
    (event,) = watch.watch(video, predictor, lambda _: BOXES[:1], real_time=False)
    (one,) = event.predictions
    assert (one.emotion, one.hacked.emotion, one.hacked.hacked) == ("bored", "calm", None)
    assert (one.probability, one.hacked.probability) == (0.8, 0.9)


@pytest.mark.parametrize(("real_time", "passed"), [(True, 2.0), (False, 0.0)])
def test_watch_plays_a_recording_at_its_own_speed_or_at_once(
    write_video, tmp_path, clock, real_time, passed
):
    boxes = iter([[faces.Face(0, 0, 40, 40)], [], [faces.Face(0, 0, 40, 40)]])
    with capture.Video(write_video(tmp_path / "video.mp4", 51, 25)) as video:
        neutral = Answers(lambda batch: np.eye(7)[[6]])
        events = list(watch.watch(video, neutral, lambda _: next(boxes), real_time=real_time))
    assert [event.time for event in events] == [0.0, 1.0, 2.0]
    assert [[one.emotion for one in event.predictions] for event in events] == [
        ["neutral"],
        [],
        ["neutral"],
    ]
    assert all(event.due and event.frame.shape == (48, 64, 3) for event in events)
    assert clock.now - 1000 == pytest.approx(passed)


def test_watch_of_each_frame_marks_the_first_of_each_period(watched):
    moments = [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 5.0]
    events = watched(moments, [], [[]] * 7, each_frame=True)
    assert [event.time for event in events] == moments
    assert [event.time for event in events if event.due] == [0.0, 1.2, 2.0, 5.0]


def test_watch_keeps_people_apart_and_averages_each(watched):
    """Two people who keep their places while the detector changes their order."""
    swapped = BOXES[::-1]
    events = watched(
        [0.0, 0.1], [[HAPPY, SAD], [SAD, HAPPY]], [BOXES, swapped], each_frame=True, smooth=0.5
    )
    for event in events:
        people = sorted(event.predictions, key=lambda one: one.person)
        assert [one.box for one in people] == BOXES
        assert [one.emotion for one in people] == ["happy", "sad"]


def test_watch_calls_uncertain_what_is_below_the_confidence(watched):
    for least, emotion in ((0.59, "happy"), (0.61, "uncertain")):
        (event,) = watched([0.0], [[HAPPY]], [BOXES[:1]], min_confidence=least)
        assert [(one.emotion, one.probability) for one in event.predictions] == [
            (emotion, pytest.approx(0.6))
        ]


def test_smoother_is_the_exponential_average_in_closed_form():
    smoother, passed = watch.Smoother(2.0), np.array([0.5, 1.0, 3.0])
    values = np.random.default_rng(0).dirichlet(np.ones(7), 4)
    expected = values[0]
    assert smoother(0.0, [5], values[:1]) == pytest.approx(expected[None])
    for moment, step, value in zip(np.cumsum(passed), passed, values[1:], strict=True):
        expected = expected + (1 - np.exp(-step / 2.0)) * (value - expected)
        average = smoother(moment, [5], value[None])
        assert average == pytest.approx(expected[None]) and average.sum() == pytest.approx(1)


def test_smoother_starts_afresh_after_a_gap_and_with_each_person():
    smoother = watch.Smoother(1.0)
    smoother(0.0, [1, 2], np.stack([HAPPY, SAD]))
    np.testing.assert_array_equal(smoother(0.5, [3], HAPPY[None]), HAPPY[None])
    assert smoother(1.9, [1], SAD[None])[0] == pytest.approx(SAD + np.exp(-1.9) * (HAPPY - SAD))
    np.testing.assert_array_equal(smoother(2.1, [2], HAPPY[None]), HAPPY[None])
    assert smoother(9.0, [], np.array([])).shape == (0,)
    assert not smoother._last  # memory is that of the people around


def test_smoother_of_no_time_changes_nothing():
    smoother = watch.Smoother(0.0)
    for values in (HAPPY, SAD):
        np.testing.assert_array_equal(smoother(0.0, [1], values[None]), values[None])


def event_of(*predictions):
    return watch.Event(3.0, predictions, FRAME, True, 3.0)


def prediction(emotion, probability, person):
    return watch.Prediction(emotion, probability, HAPPY, BOXES[0], person)


def test_described_has_the_forms_that_are_promised():
    one, two = prediction("happy", 0.734, 1), prediction("sad", 0.61, 2)
    unsure = prediction("uncertain", 0.31, 2)
    assert watch.described(event_of(), live=False) == "00:00:03s : no face"
    assert watch.described(event_of(), live=False, numbered=True) == "00:00:03s : no face"
    assert watch.described(event_of(two), live=False) == "00:00:03s : Sad , 61%"
    numbered = watch.described(event_of(two), live=False, numbered=True)
    assert numbered == "00:00:03s : person 2 : Sad , 61%"
    assert watch.described(event_of(unsure), live=False) == "00:00:03s : uncertain , 31%"
    several = "00:00:03s : person 1 : Happy , 73%\n00:00:03s : person 2 : Sad , 61%"
    assert watch.described(event_of(two, one), live=False) == several
