"""Average the weights of networks of one training (a model soup): one network, as fast as each, often better than each."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_jax import cli, files, runtime
from fer_jax.errors import InputError

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Fer2013, Split
    from fer_jax.model_file import ModelFile

EPILOG = """example:
  python scripts/average_models.py runs/vgg/model.pkl runs/vgg_finish/model.pkl --out runs/vgg_average.pkl

Wortsman et al., "Model soups", ICML 2022. The networks must have the same layers and descend from one another (init_from):
the mean of unrelated ones is worth nothing. Each of them and the average are judged on the rows that none of them was
trained on, which also fit the average's temperature; the test set is not touched.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data, model_file

    parts = [model_file.load(path) for path in args.models]
    average = model_file.average(parts)
    select = held_out_by_all(dict(zip(args.models, parts, strict=True)), data.load(args.data))
    print(f"{len(select.labels):,} rows that none of the networks was trained on\n\naccuracy    loss")
    for name, model in zip(map(str, args.models), parts, strict=True):
        judge(name, model, select)
    found = judge("average", average, select)
    named = zip(args.models, parts, strict=True)
    told = [{"name": part.metadata.get("name"), "sha256": files.digest(path)} for path, part in named]
    metadata = {**parts[-1].metadata, "averaged": told, "average": {"rows": len(select.labels), **found}}
    done = dataclasses.replace(average, metadata=metadata, temperature=found["temperature"])
    model_file.save(args.out, done, dtype="float16")
    print(f"wrote {args.out}")


def held_out_by_all(parts: dict[Path, "ModelFile"], fer: "Fer2013") -> "Split":
    """The rows that every network's protocol selects on, after the config in its model file."""
    from fer_jax import config as configs
    from fer_jax.data import Split, protocol

    selected = []
    for path, part in parts.items():
        if not isinstance(part.metadata.get("config"), dict):
            raise InputError(f"{path}: does not say how it was trained; models of scripts/train.py do")
        config = configs.from_dict(part.metadata["config"])
        if config.protocol not in ("train-only", "kaggle"):
            raise InputError(f"{path}: the protocol must be train-only or kaggle, received {config.protocol}")
        selected.append((protocol(fer, config.protocol, seed=config.seed, holdout=config.holdout).select, config.protocol))
    if len({name for _, name in selected}) > 1:
        raise InputError(f"all networks must be of one protocol, received {', '.join(name for _, name in selected)}")
    first, *others = [split for split, _ in selected]
    known = [{image.tobytes() for image in split.images} for split in others]
    kept = np.array([all(image.tobytes() in images for images in known) for image in first.images])
    if not kept.any():
        raise InputError("the networks share no rows that none of them was trained on: train them with the same seed")
    return Split(first.images[kept], first.labels[kept])


def judge(name: str, model: "ModelFile", select: "Split") -> dict[str, float]:
    """Print and return what a network scores, its temperature fitted anew."""
    from fer_jax import calibration, evaluate
    from fer_jax.predict import Predictor

    logits = Predictor(model).logits(select.images)[0]
    temperature = calibration.fit_temperature(logits, select.labels)
    found = evaluate.summary(logits / np.float32(temperature), select.labels)
    print(f"{found['accuracy']:8.2%}  {found['loss']:6.4f}  {name}", flush=True)
    return {"accuracy": found["accuracy"], "loss": found["loss"], "temperature": temperature}


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model files, two or more")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the average's model file")
    args = parser.parse_args()
    if len(args.models) < 2:
        parser.error("give two model files or more")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
