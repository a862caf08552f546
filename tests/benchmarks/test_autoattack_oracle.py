"""The bookkeeping of benchmarks/autoattack_oracle.py, on attacks that break known images; needs no
oracle.
"""

import numpy as np
import pytest

from fer_jax.data import Split
from fer_jax.errors import InputError

BREAKS = {"apgd-ce": [3, 4, 5], "apgd-t": [6], "fab-t": [], "square": [9, 11]}


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("benchmarks/autoattack_oracle.py")


class Known:
    """An image's level is its row, negative once broken; rows 0 and 1 are wrong from the start."""

    def __init__(self, breaks, calls_before_power_cut=99):
        self.breaks, self.left, self.seen = breaks, calls_before_power_cut, []

    def logits(self, images):
        row = np.rint(255 * images[:, 0, 0, 0])
        return np.eye(2)[((row < 0) | (np.abs(row) < 2)).astype(int)]

    def attack(self, stage, images, labels, number):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        rows = np.rint(255 * images[:, 0, 0, 0]).astype(int)
        self.seen += [(stage, row) for row in rows]
        return np.where(np.isin(rows, self.breaks[stage])[:, None, None, None], -images, images)

    def side(self, benchmark):
        attacks = {
            name: lambda *given, name=name: self.attack(name, *given) for name in self.breaks
        }
        return benchmark.Side(self.logits, attacks)


def search(benchmark, log, known):
    images = np.full((20, 48, 48), np.arange(20)[:, None, None], np.uint8)
    test = Split(images, np.zeros(20, int))
    benchmark.search(known.side(benchmark), test, [*range(2, 12), 0], log, "known", together=4)
    return log


def test_each_stage_attacks_what_is_left_and_a_stopped_search_goes_on(benchmark, tmp_path):
    whole = Known(BREAKS)
    search(benchmark, benchmark.Log(tmp_path / "whole", {"eps": 1}), whole)
    assert [row for stage, row in whole.seen if stage == "square"] == [2, 7, 8, 9, 10, 11]

    first, second = Known(BREAKS, calls_before_power_cut=3), Known(BREAKS)
    with pytest.raises(KeyboardInterrupt):
        search(benchmark, benchmark.Log(tmp_path / "cut", {"eps": 1}), first)
    log = search(benchmark, benchmark.Log(tmp_path / "cut", {"eps": 1}), second)
    assert first.seen + second.seen == whole.seen
    assert log.survivors(list(range(12))) == [1, 2, 7, 8, 10]  # row 1 was not among those searched


def test_results_of_other_settings_are_refused(benchmark, tmp_path):
    search(benchmark, benchmark.Log(tmp_path / "log", {"eps": 1}), Known(BREAKS))
    with pytest.raises(InputError, match="another eps"):
        benchmark.Log(tmp_path / "log", {"eps": 2})


def test_the_table_gives_both_accuracies_and_their_difference(benchmark, tmp_path):
    weaker = {**BREAKS, "apgd-ce": [3, 4]}
    ours, theirs = (
        search(benchmark, benchmark.Log(tmp_path / name, {}), Known(breaks))
        for name, breaks in (("ours", BREAKS), ("theirs", weaker))
    )
    told = benchmark.compare(benchmark.accuracies(ours, theirs, 11), ours, theirs)
    lines = [line.split()[:4] for line in told.splitlines()]
    assert lines[1] == ["clean", "90.91%", "90.91%", "+0.00"]
    assert lines[2] == ["apgd-ce", "63.64%", "72.73%", "-9.09"]
    assert lines[5] == ["square", "36.36%", "45.45%", "-9.09"]
    assert lines[6][:3] == ["1", "of", "11"]


def test_survivors_are_timed_per_image_and_in_all(benchmark, tmp_path):
    logs = [benchmark.Log(tmp_path / name, {}) for name in ("ours", "theirs")]
    for stage in benchmark.STAGES:
        for log, seconds in zip(logs, (3.0, 4.5), strict=True):
            log.add(stage=stage, row=[2, 3], broken=False, seconds=seconds / 2)
            log.add(stage=stage, row=[4], broken=False, seconds=seconds)
    lines = [line.split() for line in benchmark.compare_times(*logs, 3).splitlines()]
    assert lines[1] == ["apgd-ce", "2.00", "3.00", "1.50"]
    assert lines[-1] == ["all", "8.00", "12.00", "1.50"]
