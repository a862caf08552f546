import hashlib
from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import (
    DataWarning,
    Digest,
    Fer2013,
    Split,
    assembly,
    ferplus,
    load,
    npz,
    protocol,
    training_data,
)
from fer_jax.data.fer2013 import bundle
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS

pytestmark = pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")
HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)


@pytest.fixture
def folder(tmp_path):
    """A prepared npz of 70, 14 and 14 rows, and FER+'s votes for them, all for happiness."""
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (n, 48, 48), np.uint8), np.arange(n, dtype=np.int32) % 7)
        for n in (70, 14, 14)
    ]
    npz.save(bundle(*splits), tmp_path / "fer2013.npz")
    usages = ["Training"] * 70 + ["PublicTest"] * 14 + ["PrivateTest"] * 14
    lines = [f"{usage},fer.png,0,10{',0' * 8}" for usage in usages]
    (tmp_path / ferplus.FILE).write_text("\n".join([HEADER, *lines, ""]))
    return tmp_path


@pytest.mark.parametrize("digest", [Digest("d1"), Digest("d1", "v1"), Digest("")])
def test_a_digest_is_read_back_as_it_was_written(digest):
    assert Digest.parse(str(digest)) == digest


def test_a_digest_is_written_as_in_older_files():
    assert str(Digest("d1")) == "d1"
    assert str(Digest("d1", "v1")) == "d1+v1"
    assert Digest.parse(None) == Digest.parse("") == Digest("")


def test_votes_take_part_in_splits_and_digest_where_they_are_used(folder):
    plain, digest = training_data(folder, "train-only", seed=3, holdout=0.2)
    same = protocol(load(folder), "train-only", seed=3, holdout=0.2)
    np.testing.assert_array_equal(plain.train.images, same.train.images)
    assert digest == Digest(load(folder).digest)
    voted, both = training_data(folder, "train-only", seed=3, holdout=0.2, votes=0.5)
    csv = (folder / ferplus.FILE).read_bytes()
    assert both == Digest(digest.faces, hashlib.sha256(csv).hexdigest())
    assert (plain.labels, voted.labels) == ("fer2013", "fer2013")
    assert (voted.targets != plain.targets).any()
    classes, again = training_data(folder, "ferplus-majority")
    assert (classes.labels, classes.targets.shape, again) == ("ferplus", (70, 8), both)


def test_more_pictures_are_trained_on_and_change_the_digest(folder, tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "more" / "sad").mkdir(parents=True)
    image = np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)
    assert cv2.imwrite(str(tmp_path / "more" / "sad" / "1.png"), image)
    splits, digest = training_data(folder, "kaggle", extra=[tmp_path / "more"])
    assert len(splits.train.labels) == 71
    np.testing.assert_array_equal(splits.train.images[-1], image)
    assert digest.faces != load(folder).digest and not digest.votes
    for voted in ({"name": "ferplus-majority"}, {"votes": 0.5}):
        with pytest.raises(InputError, match="--extra brings pictures without FER\\+ votes"):
            training_data(folder, **voted, extra=[tmp_path / "more"])


# pictures of one's own


@pytest.fixture(scope="module")
def data() -> Fer2013:
    rng = np.random.default_rng(2)
    splits = [
        Split(rng.integers(0, 256, (n, 48, 48), np.uint8), np.arange(n, dtype=np.int32) % 7)
        for n in (35, 8, 6)
    ]
    return bundle(*splits)


def noise(n: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    cv2 = pytest.importorskip("cv2")
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_pictures_follow_the_training_rows_and_the_tests_stay(data, tmp_path):
    images = noise(3)
    for name, image in zip(("happy/10.png", "Sad/9.png", "disgust/11.PNG"), images, strict=True):
        save(tmp_path / name, image)
    (tmp_path / "happy" / "Thumbs.db").write_bytes(b"x")
    merged = assembly.merge(data, tmp_path)
    np.testing.assert_array_equal(merged.train.images[:35], data.train.images)
    # by number: 9, 10, 11
    np.testing.assert_array_equal(merged.train.images[35:], images[[1, 0, 2]])
    assert [EMOTIONS[label] for label in merged.train.labels[35:]] == ["sad", "happy", "disgust"]
    assert merged.train.images.dtype == np.uint8 and merged.train.labels.dtype == np.int32
    for before, after in zip(data[1:3], merged[1:3], strict=True):
        np.testing.assert_array_equal(after.images, before.images)
        np.testing.assert_array_equal(after.labels, before.labels)
    assert merged.digest == bundle(*merged[:3]).digest != data.digest
    assert len(protocol(merged, "kaggle").train.labels) == 38


def test_copies_of_test_rows_are_left_out_and_counted_in_one_warning(data, tmp_path):
    save(tmp_path / "happy" / "1.png", data.public_test.images[3])
    save(tmp_path / "angry" / "2.png", data.private_test.images[0])
    save(tmp_path / "angry" / "3.png", data.train.images[0])
    save(tmp_path / "angry" / "4.png", noise(1)[0])
    with pytest.warns(DataWarning) as caught:
        merged = assembly.merge(data, tmp_path)
    message = f"{tmp_path}: left out 2 of 4 pictures, whose pixels are those of test rows"
    assert [str(warning.message) for warning in caught] == [message]
    np.testing.assert_array_equal(merged.train.images[35:], [data.train.images[0], noise(1)[0]])
