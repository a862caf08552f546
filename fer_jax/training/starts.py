"""Finished networks that a run starts from or is taught by: read once, and checked.

What such a network was selected on must not be reported, and what it was trained on must not be
selected on: otherwise the run's figures would flatter it.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax import files, models
from fer_jax.config import Config
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.types import Variables


class Source(NamedTuple):
    """A model file, as it was when the run began."""

    path: str
    sha256: str
    model: ModelFile


def read(path: str, config: Config, digest: Digest) -> Source:
    """Read a model file to start from.

    Args:
        digest: of the data that the run is trained on.

    Raises:
        InputError: it is no model file, or it has seen rows that the run selects on or reports.
    """
    source = Source(path, "", model_file.load(path))
    if config.protocol == "train-only":
        _check_rows(source, config, digest)
    return source._replace(sha256=files.digest(Path(path)))


def read_teacher(path: str, config: Config, digest: Digest) -> Source:
    """Read a model file as `read` does, for a teacher of the config's network.

    Raises:
        InputError: also where it knows other classes, or sees another part of the face.
    """
    source = read(path, config, digest)
    teacher, pupil = models.create(source.model.architecture), models.create(config.model)
    for name in ("classes", "crop"):
        wanted, received = getattr(pupil, name), getattr(teacher, name)
        if received != wanted:
            rule = f"a teacher must have the {name} of the network that it teaches"
            raise InputError(f"{path}: {rule}, {wanted}, received {received}")
    return source


def weights(source: Source, fresh: Variables, config: Config) -> Variables:
    """Return the weights to start with, in the structure of the `fresh`, random ones.

    Settings that have no weights (dropout, crop) may differ. Of a network for other classes all but
    the last layer is taken.

    Raises:
        InputError: they do not fit the config's network.
    """
    variables = {"batch_stats": {}} | source.model.variables
    before, now = models.create(source.model.architecture), models.create(config.model)
    if before.classes != now.classes and "logits" in fresh["params"]:
        last = {"logits": fresh["params"]["logits"]}
        variables = variables | {"params": variables["params"] | last}
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, fresh):
        given = source.model.architecture
        raise InputError(f"{source.path}: its weights fit {given}, not the config's {config.model}")
    return jax.tree.map(jnp.asarray, variables)


def _check_rows(source: Source, config: Config, digest: Digest) -> None:
    """A smaller hold-out of the same seed lies within the larger one."""
    metadata = source.model.metadata
    if (protocol := metadata.get("protocol")) != "train-only":
        rule = "must be of protocol train-only, too"
        raise InputError(f"{source.path}: {rule}, is of {protocol}, selected on test rows")
    earlier = metadata["config"] if isinstance(metadata.get("config"), dict) else {}
    seed, holdout = earlier.get("seed"), earlier.get("holdout")
    same = Digest.parse(metadata.get("data_digest")).faces == digest.faces
    held = isinstance(holdout, float) and holdout >= config.holdout
    if not (same and seed == config.seed and held):
        before = f"was trained on other data, seed {seed} and holdout {holdout}"
        now = f"data {digest.faces[:12]}..., seed {config.seed} and holdout {config.holdout}"
        rule = f"with {now} some of its rows would be held out"
        raise InputError(f"{source.path}: {before}: {rule}")
