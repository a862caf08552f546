"""The readers that are judged, each with what makes its inputs."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import model_inputs as models
import numpy as np
import picture_inputs as pictures
import table_inputs as tables
from mutate import Files

from fer_jax import faces
from fer_jax.data import ferplus, folders, sources
from fer_jax.data.fer2013 import Split, bundle
from fer_jax.models import model_file


class Target(NamedTuple):
    generate: Callable[[Random], Files]
    read: Callable[[Path], object]  # a folder that holds the files


def _read_data(folder: Path) -> object:
    return sources.find(folder).read()


def _read_votes(folder: Path) -> object:
    """For data of two training rows, one public and one private test row."""
    splits = [Split(np.zeros((n, 48, 48), np.uint8), np.zeros(n, np.int32)) for n in (2, 1, 1)]
    return ferplus.read(folder / ferplus.FILE, bundle(*splits))


TARGETS = {
    "csv": Target(tables.csv_files, _read_data),
    "zip": Target(tables.zip_files, _read_data),
    "tar": Target(tables.tar_files, _read_data),
    "votes": Target(tables.votes_files, _read_votes),
    "folders": Target(pictures.folder_files, _read_data),
    "npz": Target(tables.npz_files, _read_data),
    "extra": Target(pictures.folder_files, lambda folder: folders.read(folder / "train")),
    "picture": Target(pictures.picture_files, lambda folder: faces.read_image(folder / "picture")),
    "model": Target(models.model_files, lambda folder: model_file.load(folder / "model.pkl")),
}
