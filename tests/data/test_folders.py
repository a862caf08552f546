import numpy as np
import pytest

from fer_jax.data import DataWarning
from fer_jax.data.sources import find
from fer_jax.errors import InputError


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
    cv2 = pytest.importorskip("cv2")
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
