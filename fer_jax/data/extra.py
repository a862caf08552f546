"""Add pictures of one's own to what is trained on; what is reported on stays FER-2013's.

data = merge(load(Path("data")), Path("more"))  # more/happy/*.png, more/sad/*.jpg, ...
"""

import warnings
from pathlib import Path

from fer_jax.data import folders
from fer_jax.data.fer2013 import DataWarning, Fer2013, Split, bundle, join
from fer_jax.data.protocols import seen_in_training
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS


def merge(data: Fer2013, folder: Path) -> Fer2013:
    """Return `data` with the pictures of `folder` (see `read`) after its Training rows.

    Pictures with exactly the pixels of a test row are left out, with one `DataWarning` that counts
    them: to train on them would be to train on what is reported. Copies of training rows are kept;
    a hold-out never parts them from each other.
    """
    extra = read(folder)
    tested = seen_in_training(extra, data.test)
    if tested.any():
        count = f"left out {tested.sum():,} of {len(tested):,} pictures"
        message = f"{folder}: {count}, whose pixels are those of test rows"
        warnings.warn(message, DataWarning, stacklevel=2)
    return bundle(join(data.train, extra.at(~tested)), data.public_test, data.private_test)


def read(folder: Path) -> Split:
    """Read the PNG and JPEG pictures of FOLDER/EMOTION/, each 48x48 with 8 bits, grey or colour.

    Pictures of another size are refused, not scaled: what a face fills of its square matters more
    than the number of pixels, and `scripts/preprocess.py` sees to both.

    Raises:
        InputError: no folders of pictures, a folder that is not named after an emotion, or a
            picture that is not as above.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: must be a folder that holds happy/*.png and so on, there is none"
        )
    paths = folders.in_folders(folder)
    if not paths:
        names = ", ".join(EMOTIONS)
        raise InputError(
            f"{folder}: must hold pictures (.png, .jpg) in folders named {names}, received none"
        )
    return folders.read(paths, colour=True)
