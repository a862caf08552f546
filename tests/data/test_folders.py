from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import DataWarning, folders
from fer_jax.data.sources import find
from fer_jax.errors import InputError

cv2 = pytest.importorskip("cv2")


def test_unnamed_test_pictures_are_split_evenly_per_emotion(faces, tmp_path, write_layout):
    write_layout("unnamed folders", faces, tmp_path)
    with pytest.warns(DataWarning, match="do not tell PublicTest from PrivateTest"):
        read = find(tmp_path).read()
    counts = [
        np.bincount(split.labels, minlength=7) for split in (read.public_test, read.private_test)
    ]
    assert (counts[0] - counts[1] >= 0).all() and (counts[0] - counts[1] <= 1).all()
    assert {*map(bytes, read.test.images)} == {*map(bytes, faces.test.images)}


def test_half_named_test_pictures_are_refused(faces, tmp_path, write_layout):
    write_layout("folders", faces, tmp_path)
    picture = next((tmp_path / "test").rglob("*.png"))
    picture.rename(picture.with_name("someone.png"))
    with pytest.raises(
        InputError, match=r"someone.png: the name must start with PublicTest or PrivateTest"
    ):
        find(tmp_path).read()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "size", "colour"])
def test_bad_pictures_are_refused(suffix, damage, faces, tmp_path, write_layout):
    write_layout("folders", faces, tmp_path)
    shapes = {"size": (47, 48), "colour": (48, 48, 3)}
    noise = np.random.default_rng(0).integers(0, 256, shapes.get(damage, (48, 48)), np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    content = {"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}.get(
        damage, content
    )
    (tmp_path / "train" / "happy" / f"x{suffix}").write_bytes(content)
    shape_rules = {
        "size": "must be 48x48 .*received 48x47",
        "colour": "must be 48x48 and 8-bit grey",
    }
    rule = shape_rules[damage] if damage in shapes else "must be a whole PNG or JPEG"
    with pytest.raises(InputError, match=rf"x{suffix}: .*{rule}"):
        find(tmp_path).read()


def test_a_folder_of_no_emotion_is_refused_and_other_files_are_ignored(
    faces, tmp_path, write_layout
):
    write_layout("folders", faces, tmp_path)
    (tmp_path / "train" / "happy" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    assert find(tmp_path).read().digest == faces.digest
    (tmp_path / "train" / "contempt").mkdir()
    with pytest.raises(InputError, match=r"contempt: .*unknown emotion 'contempt'"):
        find(tmp_path)


# pictures of one's own


def noise(n: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 48, 48), np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_colour_becomes_grey(suffix, tmp_path):
    blue_green_red = (
        np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    save(tmp_path / "fear" / f"1{suffix}", blue_green_red)
    expected = blue_green_red @ [0.114, 0.587, 0.299]  # ITU-R BT.601
    error = np.abs(folders.read(tmp_path).images[0] - expected)
    assert np.median(error) <= (0.6 if suffix == ".png" else 6)


def test_grey_saved_as_colour_keeps_its_pixels(tmp_path):
    image = noise(1)[0]
    save(tmp_path / "fear" / "1.png", np.stack([image] * 3, axis=-1))
    np.testing.assert_array_equal(folders.read(tmp_path).images, [image])


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
        folders.read(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_damaged_pictures_are_refused(suffix, tmp_path):
    path = save(tmp_path / "neutral" / f"1{suffix}", noise(1)[0])
    whole = path.read_bytes()
    for content in (b"", whole[:200], b"not a picture", whole[:20] + bytes(len(whole) - 20)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{path}: must be a whole PNG or JPEG picture"):
            folders.read(tmp_path)
    path.write_bytes(whole + bytes(1 << 20))
    with pytest.raises(InputError, match="must have at most 1048576 bytes"):
        folders.read(tmp_path)


def test_folders_that_hold_no_emotions_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent: must be a folder"):
        folders.read(tmp_path / "absent")
    save(tmp_path / "1.png", noise(1)[0])
    with pytest.raises(
        InputError, match=r"must hold pictures .* in folders named angry, .*, received none"
    ):
        folders.read(tmp_path)
    save(tmp_path / "contempt" / "1.png", noise(1)[0])
    with pytest.raises(InputError, match=r"contempt: .*unknown emotion 'contempt'"):
        folders.read(tmp_path)
