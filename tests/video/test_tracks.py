import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax import faces
from fer_jax.faces import Face
from fer_jax.video import capture, tracks


def face(x, y=100.0, size=100):
    """A box by its centre."""
    return Face(round(x - size / 2), round(y - size / 2), size, size)


def follow(looks, **options):
    """The numbers of each look of [(time, boxes)]."""
    tracker = tracks.Tracker(**options)
    return [tracker.update(time, boxes) for time, boxes in looks]


@pytest.mark.parametrize("every", [0.04, 0.2, 0.5])
def test_people_who_pass_each_other_keep_their_numbers(every):
    """Two heads cross at three face widths in two seconds, the farther one above the other."""
    times = np.arange(0, 2.001, every)
    looks = [(t, [face(100 + 150 * t), face(400 - 150 * t, 60, 80)]) for t in times]
    assert follow(looks) == [[1, 2]] * len(times)


def test_the_one_who_is_hidden_while_they_cross_comes_out_on_the_other_side():
    """Alike in size and height: only where they were going tells them apart."""
    looks = []
    for t in np.arange(0, 2.001, 0.04):
        front, behind = face(100 + 150 * t), face(400 - 150 * t)
        looks.append((t, [front] if abs(front.x - behind.x) < 60 else [front, behind]))
    numbers = follow(looks)
    assert [1] in numbers  # the occlusion happened
    assert all(seen in ([1], [1, 2]) for seen in numbers)


def test_a_gap_keeps_the_number_and_a_long_one_does_not():
    assert follow([(0, [face(100)]), (1, []), (3, [face(130)])], max_gap=3) == [[1], [], [1]]
    assert follow([(0, [face(100)]), (1, []), (3.1, [face(130)])], max_gap=3) == [[1], [], [2]]
    # no look between: the same
    assert follow([(0, [face(100)]), (2.9, [face(130)])], max_gap=3) == [[1], [1]]


def test_numbers_are_never_used_again():
    looks = [(10 * k, [face(100)]) for k in range(5)]
    assert follow(looks, max_gap=3) == [[1], [2], [3], [4], [5]]


def test_people_who_enter_and_leave():
    looks = [
        (0.0, [face(100)]),
        (0.5, [face(400), face(105)]),  # the second one enters, listed first
        (1.0, [face(395)]),  # the first one leaves
        (1.5, [face(390), face(700)]),
    ]
    assert follow(looks, max_gap=2) == [[1], [2, 1], [2], [2, 3]]


def test_out_of_reach_or_of_another_size_is_another_person():
    assert follow([(0, [face(100)]), (0.04, [face(250)])]) == [[1], [2]]
    assert follow([(0, [face(100)]), (0.04, [face(100, size=210)])]) == [[1], [2]]
    assert follow([(0, [face(100)]), (1.00, [face(250)])]) == [[1], [1]]  # time enough to go there


def test_a_lost_neighbour_does_not_take_the_box_of_the_one_who_is_there():
    looks = [
        (0.0, [face(100), face(220)]),
        (0.5, [face(100)]),
        (1.0, [face(100)]),
        (1.5, [face(150)]),
        (2, [face(160)]),
    ]
    assert follow(looks) == [[1, 2], [1], [1], [1], [1]]


def test_two_who_move_on_by_as_much_as_they_are_apart_do_not_swap():
    """Nearest first, or the least plain sum of distances, would leave the second one where the
    first one now is.
    """
    assert follow([(0, [face(100), face(210, 130)]), (1, [face(210, 130), face(320)])]) == [
        [1, 2],
        [1, 2],
    ]


people = st.lists(
    st.tuples(st.integers(0, 7), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)), min_size=8, max_size=8
)


@settings(max_examples=20, deadline=None)
@given(st.lists(people, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_does_not_matter(moves, random):
    """Eight seated people two widths apart who move a little, shuffled anew in each look."""
    tracker, plain = tracks.Tracker(), [face(200 * k) for k in range(8)]
    assert tracker.update(0, plain) == list(range(1, 9))
    for time, look in enumerate(moves, 1):
        boxes = [face(200 * k + 100 * dx, 100 + 100 * dy) for k, (_, dx, dy) in enumerate(look)]
        order = random.sample(range(8), 8)
        assert tracker.update(time, [boxes[k] for k in order]) == [k + 1 for k in order]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(*[st.integers(1, 400)] * 4), max_size=4), max_size=8),
    st.sampled_from([2, 4, 16]),
)  # exact in binary: no ties are broken
def test_resolution_does_not_matter(looks, scale):
    """Scales that are exact in binary: with others rounding may break ties between equal boxes."""
    small = [(0.5 * k, [Face(*box) for box in look]) for k, look in enumerate(looks)]
    large = [
        (time, [Face(*(scale * value for value in box)) for box in boxes]) for time, boxes in small
    ]
    assert follow(small) == follow(large)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-10, 10), st.lists(st.tuples(*[st.integers(0, 99)] * 4), max_size=5)),
        max_size=9,
    )
)
def test_within_a_look_numbers_differ_and_new_ones_count_up(looks):
    """Whatever the boxes and the clock, which may be put back."""
    known = 0
    for numbers in follow([(time, [Face(*box) for box in boxes]) for time, boxes in looks]):
        assert len(set(numbers)) == len(numbers)
        new = sorted(number for number in numbers if number > known)
        assert new == list(range(known + 1, known + 1 + len(new)))
        known += len(new)


def test_memory_is_bounded():
    tracker = tracks.Tracker(max_gap=1)
    for k in range(500):
        tracker.update(0.5 * k, [face(1000 * k)])
    assert len(tracker._tracks) <= 3


@pytest.mark.parametrize(
    ("clip", "people", "every"), [("derived_3faces", 3, 0.0), ("derived_2faces", 2, 0.25)]
)
def test_identities_are_never_swapped_on_real_clips(shared, clip, people, every):
    """Everyone stays in their part of the picture, so from left to right the numbers are always the
    same.
    """
    detector = faces.detector("yunet", shared / "models" / "face_detection_yunet_2023mar.onnx")
    tracker = tracks.Tracker()
    places, looks = {}, 0
    with capture.Video(shared / "data" / "videos" / f"{clip}_pingpong.mp4") as video:
        for time, frame in video.frames(every):
            boxes = detector(frame)[::-1] if looks % 2 else detector(frame)
            for person, box in zip(tracker.update(time, boxes), boxes, strict=True):
                places.setdefault(person, []).append(box.x)
            looks += 1
    assert sorted(places) == list(range(1, people + 1))
    assert all(len(seen) > 0.98 * looks for seen in places.values())
    spans = sorted((min(seen), max(seen)) for seen in places.values())
    assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))
