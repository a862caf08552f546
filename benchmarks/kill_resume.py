"""Kill a training run again and again, and compare its weights with those of one left alone.

    python benchmarks/kill_resume.py --kills 20

Every kill is SIGKILL at a random moment; every second one waits for a file of a new save to appear.
Compared bit for bit are the last checkpoints and the model files. The run is experiments/smoke.py
on random faces, in a temporary folder.
"""

import dataclasses
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_jax import cli

ROOT = Path(__file__).resolve().parents[1]
SAVING = ("*checkpoints/*tmp*", ".model-*", ".history-*", ".run-*")


def main() -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), args.kills, 2 * args.kills + 2, random.Random(args.seed))


def compare(folder: Path, kills: int, epochs: int, moments: random.Random) -> int:
    """Return 0 if the killed run ends with the weights of the one left alone, else 1."""
    make_data(folder / "data")
    began = time.time()
    finish(folder, "whole", epochs)
    # until the run itself begins
    start = (folder / "whole" / "config.json").stat().st_mtime - began
    share = (time.time() - began - start) / kills
    within = 0
    for i in tqdm(range(kills), desc="kills", disable=None):
        # a machine that is quicker now must not end the run: no kill waits for more than its share
        seconds, limit = start + moments.uniform(0.1, 1.0) * share, (i + 1) * (epochs - 2) // kills
        within += kill_once(folder, epochs, seconds, limit, inside_save=i % 2 == 1)
    finish(folder, "killed", epochs)
    same = all(map(np.array_equal, leaves(folder / "whole"), leaves(folder / "killed")))
    verdict = "bit-identical" if same else "DIFFERENT"
    print(f"{kills} kills, {within} of them within a save: the runs are {verdict}")
    return 0 if same else 1


def kill_once(folder: Path, epochs: int, seconds: float, limit: int, inside_save: bool) -> bool:
    """Start or resume the run; kill it after `seconds` or `limit` epochs, or in the next save.

    Return whether that was within a save.
    """
    workdir = folder / "killed"
    left_over = saving(workdir)  # by earlier kills
    process, deadline = command(folder, "killed", epochs), time.monotonic() + seconds
    history = workdir / "history.csv"
    done = lambda: len(history.read_text().splitlines()) - 1 if history.exists() else 0
    while process.poll() is None and time.monotonic() < deadline and done() < limit:
        time.sleep(0.001)
    while process.poll() is None and inside_save and not saving(workdir) - left_over:
        time.sleep(0.001)
    within = bool(saving(workdir) - left_over)
    if process.poll() is not None:
        end = (folder / "killed.log").read_text()[-500:]
        raise SystemExit(f"the run ended before it was killed: {end}")
    process.kill()
    process.wait()
    return within


def saving(workdir: Path) -> set[Path]:
    """Return the files of saves that have begun and not ended."""
    return {path for pattern in SAVING for path in workdir.glob(pattern)}


def leaves(workdir: Path) -> list[np.ndarray]:
    """Return every array of a run's last checkpoint and of its model file, in a fixed order."""
    import jax
    import jax.numpy as jnp

    from fer_jax import data, files
    from fer_jax.config import from_dict
    from fer_jax.models import model_file
    from fer_jax.training import step, stopping
    from fer_jax.training.workdir import Checkpoints

    config = from_dict(files.read_json(workdir / "config.json"))
    drawn = {"seed": config.seed, "holdout": config.holdout}
    splits, _ = data.training_data(workdir.parent / "data", config.protocol, **drawn)
    optimizer = step.make_optimizer(config, config.epochs, 1)
    state = step.make_state(config, optimizer, jnp.asarray(splits.targets))
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        if checkpoints.latest != config.epochs:
            raise SystemExit(f"{workdir}: ends with {checkpoints.latest}, not {config.epochs}")
        state, progress = checkpoints.restore((state, stopping.begin(state.ema)))
    state = dataclasses.replace(state, key=jax.random.key_data(state.key))
    model = model_file.load(workdir / "model.pkl")
    tree = (state, progress, model.variables, model.temperature)
    return list(map(np.asarray, jax.tree.leaves(tree)))


def finish(folder: Path, name: str, epochs: int) -> None:
    if command(folder, name, epochs).wait() != 0:
        raise SystemExit(f"the run failed: {(folder / f'{name}.log').read_text()[-1000:]}")


def command(folder: Path, name: str, epochs: int) -> subprocess.Popen:
    """Begin or resume the run; what it prints goes to NAME.log."""
    words = [sys.executable, "scripts/train.py", "--config", "experiments/smoke.py"]
    words += ["--data", folder / "data", "--workdir", folder / name]
    words += ["--set", f"epochs={epochs}", "--set", "early_stopping.patience=10000"]
    words += ["--resume"] if (folder / name).exists() else []
    with (folder / f"{name}.log").open("a") as log:
        return subprocess.Popen(list(map(str, words)), cwd=ROOT, stdout=log, stderr=log)


def make_data(folder: Path) -> None:
    """Write a prepared .npz of random faces whose brightness tells the label, as few as serve."""
    from fer_jax.data import Split, fer2013, npz

    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = (np.arange(n) % 7).astype(np.int32)
        images = rng.integers(0, 100, (n, 48, 48)) + 20 * labels[:, None, None]
        return Split(images.astype(np.uint8), labels)

    folder.mkdir()
    npz.save(fer2013.bundle(split(300), split(30), split(30)), folder / "fer2013.npz")


if __name__ == "__main__":
    sys.exit(cli.run(main))
