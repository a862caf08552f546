"""Find FER-2013 in a folder, in whatever layout it lies there: `find(Path("data")).read()`.

Nothing is repaired and nothing is guessed: a malformed row, picture or array is refused with one
`InputError` line that names the file, the row and the rule.
"""

from pathlib import Path

from fer_jax.data import archives, folders, npz, tables
from fer_jax.data.fer2013 import PAGE, Reader, Source
from fer_jax.errors import InputError

# Tried in this order. An npz beside raw files was made from them once, and may be out of date.
READERS: tuple[Reader, ...] = (tables.READER, archives.READER, folders.READER, npz.READER)


def find(directory: Path) -> Source:
    """Return the source that the first of `READERS` finds; InputError: no layout is complete."""
    for reader in READERS:
        if source := reader.find(directory):
            return source
    alone = " and ".join(tables.loose(directory))
    hint = f" ({alone} alone: the labels of the test rows are in icml_face_data.csv)"
    names = ", ".join(reader.looks_for for reader in READERS)
    remedy = f"get the archive with `python scripts/download_data.py --data {directory}`"
    elsewhere = f"or from {PAGE} into {directory} (see data/README.md)"
    missing = f"{directory}: no FER-2013 data{hint if alone else ''}"
    raise InputError(f"{missing}; looked for {names}; {remedy}, {elsewhere}")


def any_in(directory: Path) -> bool:
    """Return whether there is something of a known layout, be it damaged or incomplete."""
    return any(any(directory.glob(mark)) for reader in READERS for mark in reader.marks)
