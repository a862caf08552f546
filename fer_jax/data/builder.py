"""Write and read FER-2013 as a `tensorflow_datasets` data set, without TensorFlow.

    write(data, Path("data/tfds/KEY"))
    read(Path("data/tfds/KEY"))

A record holds up to 64 consecutive rows: one record per row takes four times as long to read. TFDS
shuffles records when it writes them, so each has the number of its first row.
"""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from fer_jax.data.fer2013 import Fer2013, Split, bundle, join
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS
from fer_jax.types import IMAGE_SIZE

_ROWS = 64  # per record
_SPLITS = Fer2013._fields[:3]


class Fer2013Builder(tfds.core.GeneratorBasedBuilder):
    """The three splits, each a source of {"row": first, "images": [n, 48, 48], "labels": [n]}."""

    VERSION = tfds.core.Version("1.0.0")
    name = "fer2013"
    pkg_dir_path = None  # no metadata files beside this module

    def __init__(self, folder: Path, data: Fer2013 | None = None):
        """`folder` holds the record files; `data` is needed to prepare them, not to read them."""
        self._data = data
        super().__init__(data_dir=str(folder), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features, shape = tfds.features, (None, IMAGE_SIZE, IMAGE_SIZE)
        # bytes: TFDS would store a plain tensor as a list of 64-bit integers.
        pixels = features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
        labels = features.Tensor(shape=(None,), dtype=np.int32)
        record = {"row": features.Scalar(np.int64), "images": pixels, "labels": labels}
        metadata = {"emotions": EMOTIONS, "digest": self._data.digest if self._data else None}
        about = {"features": features.FeaturesDict(record)}
        about["metadata"] = tfds.core.MetadataDict(metadata)
        return tfds.core.DatasetInfo(builder=self, **about)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits = zip(_SPLITS, (self._data or ())[:3], strict=True)
        return {name: self._generate_examples(split) for name, split in splits if len(split.labels)}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict]]:
        for row in range(0, len(split.labels), _ROWS):
            part = slice(row, row + _ROWS)
            yield row, {"row": row, "images": split.images[part], "labels": split.labels[part]}


def write(data: Fer2013, folder: Path) -> None:
    """Prepare `data` under `folder`, which must not hold any yet; an OSError where that fails."""
    tfds.disable_progress_bar()  # this takes two seconds
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # results alone go to stdout
            Fer2013Builder(folder, data).download_and_prepare()
    except RuntimeError as error:  # what the record writer raises where the disk is full
        raise OSError(str(error)) from error
    shutil.rmtree(folder / "downloads", ignore_errors=True)


def read(folder: Path) -> Fer2013:
    """Read back what `write` prepared, in the original order; an InputError where it is damaged."""
    try:
        builder = Fer2013Builder(folder)
        data = bundle(*(_read_split(builder, name) for name in _SPLITS))
        expected = (builder.info.metadata or {}).get("digest")
    # A damaged file fails in the JSON, protobuf, TFDS or record layer, each in its own way.
    except Exception as error:
        rule = f"must hold a prepared data set: {type(error).__name__}"
        raise InputError(f"{folder}: {rule}") from error
    if data.digest != expected:
        rule = f"must hold the arrays with the digest {expected}, received {data.digest}"
        raise InputError(f"{folder}: {rule}")
    return data


def _read_split(builder: Fer2013Builder, name: str) -> Split:
    if name not in builder.info.splits:  # TFDS cannot write an empty split
        return Split(np.zeros((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8), np.zeros(0, np.int32))
    # A decorator of TFDS hides its parameters.
    source = builder.as_data_source(name)  # pyright: ignore[reportCallIssue]
    records = sorted(source.__getitems__(range(len(source))), key=lambda record: record["row"])
    return join(*(Split(record["images"], record["labels"]) for record in records))
