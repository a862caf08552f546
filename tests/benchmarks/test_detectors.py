import pytest

from fer_jax import faces


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("benchmarks/detectors.py")


def test_looks_at_every_kth_frame_and_tells_where_faces_were(benchmark, root):
    """A detector that finds 0, 1, 2, 2, 0 faces in frames 0, 70, 140, 210, 280."""
    found = iter([0, 1, 2, 2, 0])
    clip = root / "results" / "preprocessing_test" / "input_video.mp4"
    measured = benchmark.measure(clip, lambda _: [faces.Face(0, 0, 9, 9)] * next(found), 70)
    assert measured[0] == {0: 0, 70: 1, 140: 2, 210: 2, 280: 0}
    row = benchmark.described(*measured)
    assert row.split()[0] == "5"
    assert row.endswith("      70-210  0: 40.0%, 1: 20.0%, 2: 40.0%")


def test_no_face_at_all(benchmark):
    assert benchmark.described({0: 0, 1: 0}, 3.0).endswith("none  0: 100.0%")
