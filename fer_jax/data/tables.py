"""Read FER-2013's CSV files, strictly: loose, or out of an archive.

A malformed row is refused with file, row (1 is the first after the header), rule and value.
"""

import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax.data import fer2013
from fer_jax.data.fer2013 import MAX_ROWS, DataWarning, Fer2013, Reader, Source, Split, bundle
from fer_jax.errors import InputError
from fer_jax.labels import NUM_CLASSES
from fer_jax.types import IMAGE_SIZE

LABELLED = ("fer2013.csv", "icml_face_data.csv")  # each holds every row with its label and split
NAMES = ("train.csv", "test.csv", *LABELLED)
Opener = Callable[[], AbstractContextManager[BinaryIO]]
Row = tuple[str, dict[str, str]]  # "NAME:ROW", for messages, and the cells by column

_PIXELS = IMAGE_SIZE * IMAGE_SIZE
_LAST_CLASS = NUM_CLASSES - 1
_MAX_LINE = 1 << 16  # bytes; 2,304 numbers of three digits need 9.2 kB


class _Table(NamedTuple):
    """A CSV file's rows; labels are zeros, usages "Training" where the file does not have them."""

    rows: Split
    usages: np.ndarray  # str [N], keys of PUBLISHED

    def split(self, usage: str) -> Split:
        return self.rows.at(self.usages == usage)


def find(directory: Path) -> Source | None:
    """Return the source of the CSV files in `directory`; None where they do not suffice."""
    paths = [directory / name for name in choose(loose(directory))]
    openers = {str(path): partial(path.open, "rb") for path in paths}
    return Source(directory, tuple(paths), partial(read, openers)) if paths else None


def loose(directory: Path) -> list[str]:
    """Return the names of FER-2013's CSV files that are in `directory`."""
    return [name for name in NAMES if (directory / name).is_file()]


def choose(available: Iterable[str]) -> tuple[str, ...]:
    """Return which of the available CSV files to read; () where they do not suffice."""
    labelled = [name for name in LABELLED if name in available]
    if "train.csv" in available and "test.csv" in available and labelled:
        return ("train.csv", "test.csv", labelled[-1])
    return tuple(labelled[:1])


def read(openers: Mapping[str, Opener]) -> Fer2013:
    """Read what `choose` gave: a labelled file, or train.csv, test.csv and one that labels it."""
    *challenge, labelled = openers
    table = _read_csv(labelled, openers[labelled], ("emotion", "pixels", "Usage"))
    if not challenge:
        return bundle(*map(table.split, fer2013.PUBLISHED))
    train_name, test_name = challenge
    test = _read_csv(test_name, openers[test_name], ("pixels",)).rows
    table = _label_test(test_name, test, labelled, table)
    train = _read_csv(train_name, openers[train_name], ("emotion", "pixels")).rows
    return bundle(train, table.split("PublicTest"), table.split("PrivateTest"))


def rows(name: str, stream: BinaryIO, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield each row of a CSV file, with the cells of `columns` alone.

    InputError: no CSV file of UTF-8 text, or a column that is missing or there twice.
    """
    reader = csv.reader(_lines(name, stream), strict=True)
    lines = filter(None, reader)  # blank ones are empty lists
    try:
        header = [column.strip() for column in next(lines, [])]
        for column in columns:
            if header.count(column) != 1:
                rule = f"the header must name the column {column!r} once"
                raise InputError(f"{name}: {rule}, received {short(','.join(header))}")
        for row, cells in enumerate(lines, start=1):
            if len(cells) != len(header):
                rule = f"a row must have {len(header)} columns"
                raise InputError(f"{name}:{row}: {rule}, received {len(cells)}")
            by_column = dict(zip(header, cells, strict=True))
            yield f"{name}:{row}", {column: by_column[column] for column in columns}
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: must be a CSV row: {error}") from error
    except UnicodeDecodeError as error:
        line = reader.line_num + 1
        raise InputError(f"{name}: line {line}: must be UTF-8 text: {error.reason}") from error


def parse_usage(where: str, cell: str) -> str:
    """Return the split that a cell names, a key of `fer2013.PUBLISHED`."""
    usage = cell.strip()
    if usage not in fer2013.PUBLISHED:
        rule = f"Usage must be one of {', '.join(fer2013.PUBLISHED)}"
        raise InputError(f"{where}: {rule}, received {short(usage)}")
    return usage


def parse_integer(where: str, name: str, cell: str, most: int) -> int:
    """Return the integer from 0 to `most` in a cell of the column `name`."""
    digits = cell.strip()
    short_enough = digits.isascii() and digits.isdigit() and len(digits) <= len(str(most))
    if short_enough and int(digits) <= most:
        return int(digits)
    rule = f"{name} must be an integer from 0 to {most}"
    raise InputError(f"{where}: {rule}, received {short(cell)}")


def short(text: str) -> str:
    """Return `text` quoted on one line and shortened: a cell may be kilobytes of anything."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _lines(name: str, stream: BinaryIO) -> Iterator[str]:
    """Decoded lines; a file without line breaks is refused before all of it is in memory."""
    encoding = "utf-8-sig"  # a spreadsheet program may have put a byte-order mark before the first
    for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE), b""), start=1):
        if len(line) == _MAX_LINE:
            raise InputError(f"{name}: line {number}: must have less than {_MAX_LINE} bytes")
        if number > MAX_ROWS:  # a small archive may hold a gigabyte of line breaks
            raise InputError(f"{name}: must have at most {MAX_ROWS} lines, has more")
        yield line.decode(encoding)
        encoding = "utf-8"
        if line[-1:].isdigit():  # the last line, which has been parsed by now
            message = f"{name}: line {number} has no line break: its last number may have been cut"
            warnings.warn(message, DataWarning, stacklevel=2)


def _read_csv(name: str, opener: Opener, columns: tuple[str, ...]) -> _Table:
    pixels, emotions, usages = [], [], []
    with opener() as stream:
        table = rows(name, stream, columns)
        for where, cells in tqdm(table, desc=name, unit=" rows", leave=False, disable=None):
            pixels.append(_parse_pixels(where, cells["pixels"]))
            emotions.append(parse_integer(where, "emotion", cells.get("emotion", "0"), _LAST_CLASS))
            usages.append(parse_usage(where, cells.get("Usage", "Training")))
    if not pixels:
        raise InputError(f"{name}: must have rows after its header, received none")
    images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return _Table(Split(images, np.array(emotions, np.int32)), np.array(usages))


def _label_test(name: str, test: Split, labelled: str, table: _Table) -> _Table:
    """The labelled test rows, once each row of `test` is known to have the same pixels there."""
    places = np.flatnonzero(table.usages != "Training")
    n, known = len(test.images), len(places)
    if n > known:
        rule = f"{labelled} must label each row, it has {known} test rows for {n}"
        raise InputError(f"{name}:{known + 1}: {rule}")
    places = places[:n]
    rows = table.rows.at(places)
    differs = (test.images != rows.images).any(axis=(1, 2))
    if differs.any():
        first = int(differs.argmax())
        rule = f"pixels must equal those of row {places[first] + 1} of {labelled}, they differ"
        raise InputError(f"{name}:{first + 1}: {rule}")
    return _Table(rows, table.usages[places])


def _parse_pixels(where: str, cell: str) -> bytes:
    text = cell.encode()
    # NumPy's parser is lenient: it is shown nothing but digits and spaces.
    if not text.translate(None, b"0123456789 "):
        numbers = np.fromstring(text, np.int64, sep=" ")
        if len(numbers) == _PIXELS and numbers.max() <= 255:
            return numbers.astype(np.uint8).tobytes()
    raise InputError(f"{where}: {_broken_pixel_rule(cell)}")


def _broken_pixel_rule(cell: str) -> str:
    """The rule that a malformed cell breaks, and the value that breaks it."""
    tokens = cell.split()
    for place, token in enumerate(tokens, start=1):
        if not (token.isascii() and token.isdigit() and int(token[:4]) <= 255):
            return f"pixels must be integers from 0 to 255, pixel {place} is {short(token)}"
    if len(tokens) != _PIXELS:
        return f"a row must have {_PIXELS} pixels, received {len(tokens)} (is the file cut?)"
    return f"pixels must be separated by spaces, received {short(cell)}"


_LOOKS_FOR = "train.csv + test.csv + icml_face_data.csv, fer2013.csv, icml_face_data.csv"
READER = Reader(find, NAMES, _LOOKS_FOR)
