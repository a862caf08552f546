from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import extra, protocol
from fer_jax.data.fer2013 import DataWarning, Fer2013, Split, bundle
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def data() -> Fer2013:
    rng = np.random.default_rng(2)
    splits = [
        Split(rng.integers(0, 256, (n, 48, 48), np.uint8), np.arange(n, dtype=np.int32) % 7)
        for n in (35, 8, 6)
    ]
    return bundle(*splits)


def faces(n: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_pictures_follow_the_training_rows_and_the_tests_stay(data, tmp_path):
    images = faces(3)
    for name, image in zip(("happy/10.png", "Sad/9.png", "disgust/11.PNG"), images, strict=True):
        save(tmp_path / name, image)
    (tmp_path / "happy" / "Thumbs.db").write_bytes(b"x")
    merged = extra.merge(data, tmp_path)
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
    save(tmp_path / "angry" / "4.png", faces(1)[0])
    with pytest.warns(DataWarning) as caught:
        merged = extra.merge(data, tmp_path)
    message = f"{tmp_path}: left out 2 of 4 pictures, whose pixels are those of test rows"
    assert [str(warning.message) for warning in caught] == [message]
    np.testing.assert_array_equal(merged.train.images[35:], [data.train.images[0], faces(1)[0]])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_colour_becomes_grey(suffix, tmp_path):
    blue_green_red = (
        np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    save(tmp_path / "fear" / f"1{suffix}", blue_green_red)
    expected = blue_green_red @ [0.114, 0.587, 0.299]  # ITU-R BT.601
    error = np.abs(extra.read(tmp_path).images[0] - expected)
    assert np.median(error) <= (0.6 if suffix == ".png" else 6)


def test_grey_saved_as_colour_keeps_its_pixels(tmp_path):
    image = faces(1)[0]
    save(tmp_path / "fear" / "1.png", np.stack([image] * 3, axis=-1))
    np.testing.assert_array_equal(extra.read(tmp_path).images, [image])


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        (
            np.zeros((64, 48), np.uint8),
            r"must be 48x48 \(see scripts/preprocess.py\), received 48x64",
        ),
        (
            np.zeros((48, 48, 4), np.uint8),
            r"8-bit grey or RGB, received uint8 of shape \(48, 48, 4\)",
        ),
        (np.zeros((48, 48), np.uint16), r"8-bit grey or RGB, received uint16 of shape \(48, 48\)"),
    ],
)
def test_other_pictures_are_refused(image, rule, tmp_path):
    path = save(tmp_path / "neutral" / "1.png", image)
    with pytest.raises(InputError, match=f"{path}: .*{rule}"):
        extra.read(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_damaged_pictures_are_refused(suffix, tmp_path):
    path = save(tmp_path / "neutral" / f"1{suffix}", faces(1)[0])
    whole = path.read_bytes()
    for content in (b"", whole[:200], b"not a picture", whole[:20] + bytes(len(whole) - 20)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{path}: must be a whole PNG or JPEG picture"):
            extra.read(tmp_path)
    path.write_bytes(whole + bytes(1 << 20))
    with pytest.raises(InputError, match="must have at most 1048576 bytes"):
        extra.read(tmp_path)


def test_folders_that_hold_no_emotions_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent: must be a folder"):
        extra.read(tmp_path / "absent")
    save(tmp_path / "1.png", faces(1)[0])
    with pytest.raises(
        InputError, match=r"must hold pictures .* in folders named angry, .*, received none"
    ):
        extra.read(tmp_path)
    save(tmp_path / "contempt" / "1.png", faces(1)[0])
    with pytest.raises(InputError, match=r"contempt: .*unknown emotion 'contempt'"):
        extra.read(tmp_path)
