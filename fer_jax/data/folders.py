"""Read pictures that lie in folders named after their emotion: train/happy/*.png and so on."""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_jax import labels
from fer_jax.data.fer2013 import DataWarning, Fer2013, Reader, Source, Split, bundle
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.types import IMAGE_SIZE


def find(directory: Path) -> Source | None:
    """Return the source of the pictures under train/EMOTION and test/EMOTION in `directory`."""
    train, test = directory / "train", directory / "test"
    if not (train.is_dir() and test.is_dir()):
        return None
    paths = sorted([*_in_folders(train), *_in_folders(test)], key=_file_order)
    return Source(directory, tuple(paths), partial(_read_data, directory))


def read(folder: Path) -> Split:
    """Read the PNG and JPEG pictures of FOLDER/EMOTION/, each 48x48 with 8 bits, grey or colour.

    Colour becomes grey as OpenCV does it (ITU-R BT.601). Pictures of another size are refused, not
    scaled: what a face fills of its square matters more than the number of pixels, and
    `scripts/preprocess.py` sees to both. InputError: no folders of pictures, a folder that is not
    named after an emotion, or another picture.
    """
    if not folder.is_dir():
        rule = "must be a folder that holds happy/*.png and so on"
        raise InputError(f"{folder}: {rule}, there is none")
    if paths := _in_folders(folder):
        return _read(paths, colour=True)
    rule = f"must hold pictures (.png, .jpg) in folders named {', '.join(labels.EMOTIONS)}"
    raise InputError(f"{folder}: {rule}, received none")


def _in_folders(parent: Path) -> list[Path]:
    """The pictures in the folders of `parent`, by the numbers in their names: the CSV's order."""
    folders = [path for path in parent.iterdir() if path.is_dir()]
    for folder in folders:
        _emotion(folder)
    inside = (path for folder in folders for path in folder.iterdir())
    suffixes = pictures.SMALL_SUFFIXES  # not .DS_Store, Thumbs.db
    return sorted((path for path in inside if path.suffix.lower() in suffixes), key=_file_order)


def _read(paths: list[Path], *, colour: bool = False) -> Split:
    bar = tqdm(paths, desc="pictures", leave=False, disable=None)
    images = np.array([_read_picture(path, colour) for path in bar], np.uint8)
    emotions = np.array([_emotion(path.parent) for path in paths], np.int32)
    return Split(images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), emotions)


def _file_order(path: Path) -> tuple[list[str], str]:
    return [part.zfill(12) for part in re.split(r"(\d+)", path.name)], path.parent.name


def _emotion(folder: Path) -> int:
    """The emotion, 0 to 6, that a folder of pictures is named after."""
    try:
        return labels.index(folder.name)
    except InputError as error:
        rule = "a folder of pictures must be named after its emotion"
        raise InputError(f"{folder}: {rule}: {error}") from None


def _read_picture(path: Path, colour: bool) -> np.ndarray:
    image = pictures.decode_small(path)
    if image.ndim == 3 and not colour:
        raise InputError(f"{path}: a picture must be 48x48 and 8-bit grey, it has colour")
    return pictures.grey(image)


def _read_data(directory: Path) -> Fer2013:
    """The pictures of train/ and test/, the latter by the halves that their names tell."""
    test = _in_folders(directory / "test")
    public = _public_half(directory / "test", test)
    private = [path for path in test if path not in public]
    parts = (_in_folders(directory / "train"), [path for path in test if path in public], private)
    return bundle(*map(_read, parts))


def _public_half(folder: Path, paths: list[Path]) -> set[Path]:
    """The pictures named PublicTest_12.jpg and so on; where none tells, half of each emotion."""
    unnamed = [path for path in paths if not path.name.startswith(("PublicTest", "PrivateTest"))]
    if not unnamed:
        return {path for path in paths if path.name.startswith("PublicTest")}
    if len(unnamed) < len(paths):
        rule = "the name must start with PublicTest or PrivateTest"
        raise InputError(f"{unnamed[0]}: {rule}, as those of other test pictures do")
    problem = "file names do not tell PublicTest from PrivateTest"
    message = f"{folder}: {problem}; split evenly, not as published"
    warnings.warn(message, DataWarning, stacklevel=2)
    public = set()
    for emotion in {path.parent for path in paths}:
        public.update([path for path in paths if path.parent == emotion][::2])
    return public


READER = Reader(find, ("train", "test"), "train/happy/*.png with test/happy/*.png")
