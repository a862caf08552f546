"""A training run that is killed again and again ends as one that is left alone, bit for bit."""

import dataclasses
import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import data, files
from fer_jax.config import from_dict
from fer_jax.models import model_file
from fer_jax.training import step, stopping
from fer_jax.training.workdir import Checkpoints

KILLS = 5
EPOCHS = 2 * KILLS + 2
SAVING = ("*checkpoints/*tmp*", ".model-*", ".history-*", ".run-*")


def saving(workdir):
    """The files of saves that have begun and not ended."""
    return {path for pattern in SAVING for path in workdir.glob(pattern)}


def finished_epochs(workdir):
    history = workdir / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def arrays(workdir, faces):
    """Every array of the last checkpoint and of the model file, in a fixed order."""
    config = from_dict(files.read_json(workdir / "config.json"))
    drawn = {"seed": config.seed, "holdout": config.holdout}
    splits, _ = data.training_data(faces, config.protocol, **drawn)
    optimizer = step.make_optimizer(config, config.epochs, 1)
    state = step.make_state(config, optimizer, jnp.asarray(splits.targets))
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest == EPOCHS
        state, progress = checkpoints.restore((state, stopping.begin(state.ema)))
    state = dataclasses.replace(state, key=jax.random.key_data(state.key))
    model = model_file.load(workdir / "model.pkl")
    return jax.tree.leaves((state, progress, model.variables, model.temperature))


@pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")
def test_a_run_killed_at_random_moments_ends_bit_identical(train, faces, tmp_path):
    """By SIGKILL; every second one waits for a file of a new save to appear."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ("--set", f"epochs={EPOCHS}", "--set", "early_stopping.monitor=last", "--workdir")
    began, moments, within = time.time(), random.Random(0), 0
    process = train(*options, whole)
    assert process.wait() == 0, process.stderr.read()
    start = (whole / "config.json").stat().st_mtime - began  # until the run itself begins
    share = (time.time() - began - start) / KILLS
    for i in range(KILLS):
        left_over = saving(killed)  # by earlier kills
        process = train(*options, killed, *["--resume"] * (i > 0))
        deadline = time.monotonic() + start + moments.uniform(0.1, 1.0) * share
        # a machine that is quicker now must not end the run: no kill waits for more than its share
        limit = (i + 1) * (EPOCHS - 2) // KILLS
        while time.monotonic() < deadline and finished_epochs(killed) < limit:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        while i % 2 and process.poll() is None and not saving(killed) - left_over:
            time.sleep(0.001)
        within += bool(saving(killed) - left_over)
        assert process.poll() is None, process.stderr.read()
        process.kill()
        process.wait()
    assert within >= KILLS // 2  # random moments may lie in one, too
    process = train(*options, killed, "--resume")
    assert process.wait() == 0, process.stderr.read()
    pairs = zip(arrays(whole, faces), arrays(killed, faces), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
