"""A small network with random weights, and the file of it."""

import jax
import numpy as np
import pytest

from fer_jax import models
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile

ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.5}


@pytest.fixture(scope="session")
def model():
    module, images = models.create(ARCHITECTURE), np.zeros((1, 48, 48, 1), np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))
    rng = np.random.default_rng(0)
    # Positive, so that the statistics hold valid variances; spread, so that no two faces get the
    # same probabilities.
    variables = jax.tree.map(lambda s: rng.normal(1, 0.3, s.shape).astype(s.dtype) / 8, shapes)
    return ModelFile(ARCHITECTURE, variables, {"protocol": "train-only"})


@pytest.fixture(scope="session")
def model_path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pkl"
    model_file.save(path, model)
    return path
