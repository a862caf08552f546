"""Finished networks that a run starts from or is taught by: read once, and checked.

What such a network was selected on must not be reported, and what it was trained on must not be
selected on: otherwise the run's figures would flatter it, and the file is refused (InputError).
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax import files, models
from fer_jax.config import Config
from fer_jax.data import Digest
from fer_jax.errors import InputError
from fer_jax.models.model_file import ModelFile, load
from fer_jax.types import Variables


class Source(NamedTuple):
    """A model file, as it was when the run began."""

    path: str
    sha256: str
    model: ModelFile


def read(path: str, config: Config, digest: Digest) -> Source:
    """Read a model file to start from; `digest` is of the data that the run is trained on."""
    model = load(path)
    if config.protocol == "train-only":
        _check_rows(path, model.metadata, config, digest)
    return Source(path, files.digest(Path(path)), model)


def read_teacher(path: str, config: Config, digest: Digest) -> Source:
    """Read a teacher, which must know the network's classes and see the same part of the face."""
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
    """
    variables, given = {"batch_stats": {}} | source.model.variables, source.model.architecture
    other = models.create(given).classes != models.create(config.model).classes
    if other and "logits" in fresh["params"]:
        last = {"logits": fresh["params"]["logits"]}
        variables = variables | {"params": variables["params"] | last}
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, fresh):
        raise InputError(f"{source.path}: its weights fit {given}, not the config's {config.model}")
    return jax.tree.map(jnp.asarray, variables)


def _check_rows(path: str, metadata: dict, config: Config, digest: Digest) -> None:
    """A smaller hold-out of the same seed lies within the larger one."""
    if (protocol := metadata.get("protocol")) != "train-only":
        rule = "must be of protocol train-only, too"
        raise InputError(f"{path}: {rule}, is of {protocol}, selected on test rows")
    earlier = metadata["config"] if isinstance(metadata.get("config"), dict) else {}
    seed, holdout = earlier.get("seed"), earlier.get("holdout")
    trained_on = metadata.get("data_digest")
    same = trained_on is not None and Digest.parse(trained_on).faces == digest.faces
    held = isinstance(holdout, float) and holdout >= config.holdout
    if not (same and seed == config.seed and held):
        before = f"was trained on other data, seed {seed} and holdout {holdout}"
        now = f"data {digest.faces[:12]}..., seed {config.seed} and holdout {config.holdout}"
        raise InputError(f"{path}: {before}: with {now} some of its rows would be held out")
