import numpy as np
import pytest
from scipy import ndimage

from fer_jax.data import inspect
from fer_jax.data.fer2013 import PUBLISHED, Fer2013, Split, bundle
from fer_jax.data.ferplus import Votes
from fer_jax.labels import EMOTIONS


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smoothed, at the contrast that it had."""
    smooth = ndimage.gaussian_filter(image.astype(float), sigma)
    return np.clip(128 + (smooth - smooth.mean()) * image.std() / smooth.std(), 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def data() -> Fer2013:
    """20 + 6 + 5 sharp images, all different, but for the defects that are put in."""
    rng = np.random.default_rng(3)
    train, public, private = (rng.integers(40, 216, (n, 48, 48), np.uint8) for n in (20, 6, 5))
    train[2] = 77
    public[1] = public[1] // 32 + 100
    train[7], private[4] = blur(train[7], 4), blur(private[4], 6)
    train[11] = train[5]  # a copy within a split, same label
    public[3] = train[9]  # across splits, same label
    train[15] = private[0] = train[8]  # within and across, one label differs
    private[2] = public[2]  # between test splits: no leak from Training
    labels = [np.arange(n, dtype=np.int32) % 7 for n in (20, 6, 5)]
    labels[0][11], labels[1][3], labels[0][15], labels[2][2] = (
        labels[0][5],
        labels[0][9],
        labels[0][8],
        labels[1][2],
    )
    assert labels[2][0] != labels[0][8]
    return bundle(*(Split(*pair) for pair in zip((train, public, private), labels, strict=True)))


EXPECTED = {  # rows over all splits: PublicTest starts at 20, PrivateTest at 26
    "blank": [2],
    "near_constant": [21],
    "blurred": [30, 7],  # the more blurred first
    "copies": [5, 11, 8, 15, 26, 9, 23, 22, 28],  # copies side by side
    "copies_across_splits": [8, 15, 26, 9, 23, 22, 28],
    "copies_with_conflicting_labels": [8, 15, 26],
    "test_rows_in_training": [26, 23],
}


def test_every_defect_is_found_and_nothing_else(data):
    assert {finding.name: finding.rows.tolist() for finding in inspect.inspect(data)} == EXPECTED


def test_counts_by_split_groups_and_surplus(data):
    counts = inspect.counts(data, inspect.inspect(data)).fillna(-1).T.to_dict("list")
    assert counts == {
        "blank": [1, 0, 0, 1, -1, -1],
        "near_constant": [0, 1, 0, 1, -1, -1],
        "blurred": [1, 0, 1, 2, -1, -1],
        "copies": [5, 2, 2, 9, 4, 5],
        "copies_across_splits": [3, 2, 2, 7, 3, 4],
        "copies_with_conflicting_labels": [2, 0, 1, 3, 1, 2],
        "test_rows_in_training": [0, 1, 1, 2, -1, -1],
    }


def test_the_table_names_rows_so_that_they_can_be_found(data):
    table = inspect.table(data, inspect.inspect(data))
    assert len(table) == sum(map(len, EXPECTED.values()))
    everything = np.concatenate([split.images for split in data.splits.values()])
    for line in table.to_dict("records"):
        split = data.splits[line["split"]]
        np.testing.assert_array_equal(
            split.images[line["row"] - 1], everything[line["file_row"] - 1]
        )
        assert EMOTIONS[split.labels[line["row"] - 1]] == line["emotion"]
        if line["measure"] == "group":  # goes by its first row
            np.testing.assert_array_equal(
                everything[int(line["value"]) - 1], everything[line["file_row"] - 1]
            )
    assert table.loc[table.finding == "blank", "value"].tolist() == [77]


def test_votes_add_what_is_not_a_face_most_votes_first(data):
    votes = Votes(*(np.zeros((len(split.labels), 10), np.uint8) for split in data.splits.values()))
    votes.training[4, 9], votes.training[6, 9], votes.private_test[1, 9] = 6, 5, 10
    finding = inspect.inspect(data, votes)[-1]
    assert (finding.name, finding.rows.tolist(), finding.values.tolist()) == (
        "not_a_face",
        [27, 4],
        [10, 6],
    )


def test_measures_agree_with_scipy_and_do_not_depend_on_the_chunk(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (11, 48, 48), np.uint8)
    images[3] = blur(images[3], 2)
    edges = np.array([ndimage.laplace(image.astype(float))[1:-1, 1:-1].var() for image in images])
    spread = images.reshape(11, -1).astype(float).std(axis=1)
    for chunk in (2048, 4, 1):
        monkeypatch.setattr(inspect, "_CHUNK", chunk)
        np.testing.assert_allclose(inspect.sharpness(images), edges / spread**2, rtol=1e-4)
        np.testing.assert_allclose(inspect.contrast(images), spread, rtol=1e-5)


def test_sharpness_falls_with_blur_and_ignores_brightness_and_contrast():
    image = np.random.default_rng(0).integers(0, 120, (48, 48), np.uint8)
    blurred = inspect.sharpness(
        np.stack([image, *(blur(image, sigma) for sigma in (0.5, 1, 2, 4))])
    )
    assert (np.diff(blurred) < 0).all()
    np.testing.assert_allclose(*inspect.sharpness(np.stack([image, 2 * image + 10])), rtol=1e-4)
    assert inspect.sharpness(np.full((1, 48, 48), 9, np.uint8)) == np.inf


def test_empty_splits_are_no_trouble(data):
    none = Split(np.zeros((0, 48, 48), np.uint8), np.zeros(0, np.int32))
    found = {
        finding.name: finding.rows.tolist()
        for finding in inspect.inspect(bundle(data.train, none, none))
    }
    assert found["copies"] == [5, 11, 8, 15] and found["test_rows_in_training"] == []
    empty = bundle(none, none, none)
    assert len(inspect.table(empty, inspect.inspect(empty))) == 0


@pytest.mark.slow
def test_the_real_data(shared):
    cv2 = pytest.importorskip("cv2")
    folder = shared / "data" / "fer2013"
    if not (folder / "labels.csv").is_file():
        pytest.skip(f"no real data: {folder}/labels.csv is not there")
    lines = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    splits = []
    for usage, name in zip(PUBLISHED, ("training", "public_test", "private_test"), strict=True):
        labels = np.array([int(line[0]) for line in lines if line[1] == usage], np.int32)
        sheet = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        cells = sheet.reshape(sheet.shape[0] // 48, 48, -1, 48).swapaxes(1, 2).reshape(-1, 48, 48)
        splits.append(Split(cells[: len(labels)], labels))
    data = bundle(*splits)
    counts = inspect.counts(data, inspect.inspect(data))
    assert counts.loc["copies", "surplus"] == 1851
    assert counts.loc["test_rows_in_training", "all"] == 568
    assert counts.loc["blank", "all"] == 12
    assert counts.loc["copies_with_conflicting_labels", "all"] == 160
