import contextlib
import re

import cv2
import numpy as np
import pytest

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import cutting
from fer_jax.faces.cutting import MARK, Source
from fer_jax.faces.pictures import write_png

NINE = np.full((48, 48), 9, np.uint8)
FRAME = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


class Everywhere:
    """A detector that finds two faces in every frame but a black one."""

    name = "Everywhere"

    def __call__(self, frame):
        return [faces.Face(5, 5, 20, 20), faces.Face(40, 20, 50, 50)] if frame.any() else []


def cut(frames, out, endless=False):
    source = Source(frames, None, "camera 0", endless)
    return cutting.cut(contextlib.nullcontext(source), out, Everywhere())


def interrupted(frames):
    """A camera on which Ctrl-C is pressed after some frames."""
    yield from frames
    raise KeyboardInterrupt


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_largest_face_of_each_frame_is_written_with_our_mark(tmp_path):
    said = cut([FRAME, 0 * FRAME, FRAME[::-1]], tmp_path / "new")
    assert said == (
        f"camera 0: 3 samples, 2 faces in {tmp_path / 'new'}, 1 without a face (Everywhere)"
    )
    paths = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in paths] == ["image0.png", "image2.png"]
    expected = faces.crop(FRAME, faces.Face(40, 20, 50, 50))
    np.testing.assert_array_equal(read(paths[0]), expected)
    assert all(MARK in path.read_bytes() for path in paths)


def test_only_own_files_are_replaced(tmp_path):
    others = ["image.png", "image1.jpg", "my_image1.png", "image1.png.txt", "imagex1.png", "notes"]
    for name in others:
        (tmp_path / name).write_text(name)
    for number in (0, 57):
        write_png(tmp_path / f"image{number}.png", NINE, MARK)
    cut([FRAME] * 3, tmp_path)
    cuts = [f"image{number}.png" for number in range(3)]
    assert {path.name for path in tmp_path.iterdir()} == {*others, *cuts}
    assert all((tmp_path / name).read_text() == name for name in others)
    assert (read(tmp_path / "image0.png") != 9).any()


@pytest.mark.parametrize("shape", [(60, 80, 3), (48, 48)])
def test_a_picture_of_somebody_else_is_not_replaced(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "image3.png"), np.zeros(shape, np.uint8))
    before = (tmp_path / "image3.png").read_bytes()
    with pytest.raises(InputError, match=r"image3\.png: .* choose another --out$"):
        cut([FRAME], tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_the_shipped_faces_are_known_as_ours_and_can_be_replaced(root, tmp_path):
    for number in (0, 20):
        shipped = root / "results" / "preprocessing_test" / f"image{number}.png"
        (tmp_path / shipped.name).write_bytes(shipped.read_bytes())
    cut([FRAME], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["image0.png"]


def test_what_a_camera_saw_before_ctrl_c_is_kept(tmp_path):
    on_disk = []

    def frames():
        for _ in range(3):
            on_disk.append(sorted(path.name for path in tmp_path.rglob("image*.png")))
            yield FRAME

    cut(interrupted(frames()), tmp_path, endless=True)
    assert {path.name for path in tmp_path.iterdir()} == {"image0.png", "image1.png", "image2.png"}
    # as they come: memory holds none of them
    assert on_disk == [[], ["image0.png"], ["image0.png", "image1.png"]]


def test_ctrl_c_in_a_recording_and_an_error_leave_all_as_it_was(tmp_path):
    def failing():
        yield FRAME
        raise InputError("late")

    write_png(tmp_path / "image0.png", NINE, MARK)
    for frames, error in ((interrupted([FRAME]), KeyboardInterrupt), (failing(), InputError)):
        with pytest.raises(error):
            cut(frames, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["image0.png"]
        assert (read(tmp_path / "image0.png") == 9).all()


def test_a_source_that_gave_nothing_replaces_nothing(tmp_path):
    write_png(tmp_path / "image0.png", NINE, MARK)
    rule = "camera 0: must give a frame, but gave none: nothing is written"
    for out in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match=f"^{rule}$"):
            cut(interrupted([]), out, endless=True)
    assert [path.name for path in tmp_path.iterdir()] == ["image0.png"]
    assert (read(tmp_path / "image0.png") == 9).all()


def test_an_out_that_cannot_be_written_is_named_before_the_source_opens(tmp_path):
    @contextlib.contextmanager
    def opened():
        pytest.fail("opened")
        yield

    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="must be a folder to write to"):
        cutting.cut(opened(), tmp_path / "out", Everywhere())


def test_pictures_of_a_folder_come_in_order(tmp_path):
    for name, value in (("b.png", 2), ("a.jpg", 1)):
        cv2.imwrite(str(tmp_path / name), np.full((9, 9), value, np.uint8))
    source = cutting.pictures_in(tmp_path)
    assert source[1:] == (2, str(tmp_path), False)
    assert [round(frame.mean()) for frame in source.frames] == [1, 2]
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=re.escape("c.png: must be a picture")):
        list(cutting.pictures_in(tmp_path).frames)
