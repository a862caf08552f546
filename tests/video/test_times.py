import itertools
import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_jax.video import times


def sample(moments, every):
    """The first moment of each period."""
    return list(filter(times.Periods(every), moments))


RATES = (7.5, 12.5, 23.976, 25, 29.97, 60)


@given(
    rate=st.sampled_from(RATES),
    frames=st.integers(1, 900),
    every=st.sampled_from((1.0, 0.5, 2.0, 0.2, 3.7)),
)
def test_sample_count_is_the_closed_form(rate, frames, every):
    # as a container in milliseconds gives them
    moments = [round(1000 * index / rate, 3) / 1000 for index in range(frames)]
    samples = sample(moments, every)
    assert len(samples) == math.floor((frames - 1) / (rate * every) + 1e-6) + 1
    for period, moment in enumerate(samples):
        assert -1e-6 <= moment - period * every < 1 / rate + 1e-3  # the first frame of its period


@pytest.mark.parametrize("rate", RATES)
def test_twenty_seconds_give_twenty_or_twenty_one_samples(rate):
    for frames in (math.floor(20 * rate), math.ceil(20 * rate) + 1):
        assert len(sample((index / rate for index in range(frames)), 1.0)) in (20, 21)


def test_sample_counts_periods_from_the_first_frame_and_leaves_gaps_out():
    moments = [100.7, 101.2, 101.7, 101.9, 104.8, 105.6, 105.8]
    assert sample(moments, 1) == [100.7, 101.7, 104.8, 105.8]


def test_sample_of_every_frame():
    assert sample([0.0, 0.1, 0.2], 0) == [0.0, 0.1, 0.2]
    assert sample([], 1) == []


@given(st.lists(st.floats(0, 100), max_size=50))
def test_increasing_times_increase(positions):
    moments = list(times.increasing(positions, 0.04))
    assert all(earlier < later for earlier, later in itertools.pairwise(moments))
    assert len(moments) == len(positions)


def test_increasing_keeps_good_times_and_counts_frames_without():
    assert list(times.increasing([0.0, 0.5, 0.9], 0.04)) == [0.0, 0.5, 0.9]
    np.testing.assert_allclose(list(times.increasing([0.0] * 5, 0.04)), np.arange(5) * 0.04)


def test_paced_does_not_wait_for_what_is_late(clock):
    released = []
    for moment, _ in times.paced([(5.0, "a"), (6.0, "b"), (7.0, "c"), (9.0, "d")]):
        released.append((moment, clock.now - 1000))
        clock.advance(1.5)  # each look takes longer than a period
    assert released == [(5.0, 0.0), (6.0, 1.5), (7.0, 3.0), (9.0, 4.5)]


@pytest.mark.parametrize("busy", [1.1, 2.5, 7.0])
def test_paced_never_lags_by_more_than_a_look_and_a_step(clock, busy):
    shown = []
    for moment, _ in times.paced((float(second), None) for second in range(100)):
        shown.append(moment)
        assert clock.now - 1000 - moment <= 1
        clock.advance(busy)
    assert len(shown) == pytest.approx(100 / busy, abs=10)


def test_paced_shows_late_what_cannot_be_in_time(clock):
    """A recording that takes twice its length to decode plays to its end, without a silence."""

    def slow():
        for second in range(60):
            clock.advance(2.0)
            yield float(second), None

    shown = [(moment, clock.now) for moment, _ in times.paced(slow())]
    assert shown[-1][0] >= 58
    assert np.diff([now for _, now in shown]).max() <= 4.0


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_paced_does_not_sleep_through_a_jump_in_a_recordings_time(clock, every):
    moments = [0.0, 1.0, 7200.0, 7201.0] if every == 0 else [0.0, 60.0, 7200.0, 7260.0]
    shown = [clock.now for _ in times.paced(((moment, None) for moment in moments), every)]
    step = moments[1]
    assert np.diff(shown) == pytest.approx([step, 0.0, step])


def test_time_of_day():
    positions = (0, 7, 6.9999, 59.9, 61, 3661.5, 100 * 3600)
    stamps = ["00:00:00", "00:00:07", "00:00:07", "00:00:59", "00:01:01", "01:01:01", "100:00:00"]
    assert [times.time_of_day(position, live=False) for position in positions] == stamps
    now = 1_700_000_000.5
    assert times.time_of_day(now, live=True) == datetime.fromtimestamp(now).strftime("%H:%M:%S")
