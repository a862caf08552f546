"""Faces of one's own, added to what is trained on; what is reported on stays FER-2013's.

data = merge(load(Path("data")), Path("more"))  # more/happy/*.png, more/sad/*.jpg, ...
"""

import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_jax.data import sources
from fer_jax.data.protocols import seen_in_training
from fer_jax.data.sources import DataWarning, Fer2013, Split, bundle
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.labels import EMOTIONS


def merge(data: Fer2013, folder: Path) -> Fer2013:
    """`data` with the pictures of `folder` (as `read` takes them) after its Training rows, and a
    digest to match.

    Pictures with exactly the pixels of a test row are left out, with one `DataWarning` that counts
    them: to train on them would be to train on what is reported. Copies of training rows are kept;
    a hold-out never parts them from each other.

    Raises:
        InputError: as `read` does.
    """
    extra = read(folder)
    tested = seen_in_training(extra, data.test)
    if tested.any():
        message = f"{folder}: left out {tested.sum():,} of {len(tested):,} pictures, whose pixels are those of test rows"
        warnings.warn(message, DataWarning, stacklevel=2)
    images = np.concatenate([data.train.images, extra.images[~tested]])
    labels = np.concatenate([data.train.labels, extra.labels[~tested]])
    return bundle(Split(images, labels), data.public_test, data.private_test)


def read(folder: Path) -> Split:
    """The PNG and JPEG pictures of FOLDER/EMOTION/, each 48x48 with 8 bits, grey or colour, in the
    order of their names.

    Colour becomes grey as OpenCV does it (ITU-R BT.601). Pictures of another size are refused, not
    scaled: what a face fills of its square matters more than the number of pixels, and
    `scripts/preprocess.py` sees to both.

    Raises:
        InputError: no folders of pictures, a folder that is not named after an emotion, or a
            picture that is not as above.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: must be a folder that holds happy/*.png and so on, there is none"
        )
    folders = [path for path in folder.iterdir() if path.is_dir()]
    emotions = {path: sources.emotion_of(path) for path in folders}
    paths = [
        path
        for part in folders
        for path in part.iterdir()
        if path.suffix.lower() in pictures.SMALL_SUFFIXES
    ]
    if not paths:
        names = ", ".join(EMOTIONS)
        raise InputError(
            f"{folder}: must hold pictures (.png, .jpg) in folders named {names}, received none"
        )
    paths.sort(key=sources.in_file_order)
    images = [
        _read_picture(path) for path in tqdm(paths, desc=str(folder), leave=False, disable=None)
    ]
    return Split(
        np.array(images, np.uint8), np.array([emotions[path.parent] for path in paths], np.int32)
    )


def _read_picture(path: Path) -> np.ndarray:
    image = pictures.decode_small(path)
    if image.ndim == 2:
        return image
    cv2 = pictures.opencv()
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
