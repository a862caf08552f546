"""The robustness table: every shipped network, on the same test images, under the same attacks."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, runtime
from fer_jax.errors import InputError
from fer_jax.journal import Journal

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Split
    from fer_jax.scorecard import Measure, Subject

ROOT = Path(__file__).resolve().parents[1]
CONSTANT = "constant"
CHECKED = 128  # images on which gradients are looked at
NOTE = """\
The same random test images for every row; interval: 95 %. Attacks know the network and are untargeted; AutoAttack is the
standard ensemble, with 5,000 queries of Square unless the command says otherwise, and what a smaller ball breaks counts as
broken in a larger one. "happy to sad" is the share of the images given more than 90 % Happy, rightly, that a targeted PGD-50
turns into Sad with whole grey levels. A row trained with noise is attacked as it is, without the smoothing; its certified
accuracy is that of the smoothed classifier. The constant row gives every image the most frequent class.

What this shows: how much accuracy is left against an opponent who may change every pixel by a little. What it does not
show: safety against larger or other changes (glasses, make-up, a turned head), on other data, or against attacks to come.
An empirical figure is an upper bound of the true robust accuracy, a certified one a lower bound.
"""
EPILOG = """example:
  python scripts/robustness_table.py --models standard=results/model/my_own_model.pkl fgsm_rs=results/robust/fgsm_rs.pkl

Takes hours; what was found lies in WORK/NAME-HASH and is never mixed between models: the same command goes on where it was
stopped. Writes OUT/table.csv, table.md, masking.json and robustness.png.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data

    fer = data.load(args.data)
    rows = data.sample(fer.test, args.n)
    parts, suspicions = [], {}
    for name, path in {**args.models, CONSTANT: None}.items():
        figures, suspicions[name] = score(name, path, fer, rows, args)
        parts.append(figures)
    write(pd.concat(parts, ignore_index=True), suspicions, args.out, command_of(args))


def score(name: str, path: Path | None, fer, rows: np.ndarray, args: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """One network's figures, long form, and what its gradient looks like, in words."""
    from fer_jax import evaluate, scorecard

    subject, sigma = subject_of(path, fer)
    digest = files.digest(path) if path else ""
    settings = {"model": digest, "data": fer.digest, "n": args.n, "queries": args.queries, "copies": args.copies}
    measures = [*scorecard.attack_measures(args.n, args.queries), scorecard.corruption_measure(args.n)]
    if sigma or not path:
        measures.append(scorecard.certified_measure(min(args.n, args.certify), sigma or 1.0, args.copies))
    journal = Journal(args.work / f"{name}-{digest[:8]}", settings, ("measure", "row", "value"))
    fill(journal, measures, subject, fer.test, rows, name)
    logits = evaluate.predict_logits(subject.logits_fn, fer.test.images, progress=True)
    plain, hard = scorecard.of_predictions(subject, logits, fer.test.labels), scorecard.tabulate(journal.table)
    figures = pd.concat([plain, hard], ignore_index=True)
    return figures.assign(model=name, sha256=digest), [] if subject.constant else suspicions_of(subject, fer.test, rows)


def subject_of(path: Path | None, fer) -> "tuple[Subject, float | None]":
    """A network, and the noise that it was trained with, if it was; without a path the constant classifier."""
    from fer_jax import scorecard, smoothing
    from fer_jax.predict import Predictor

    if path is None:
        return scorecard.constant(np.bincount(fer.train.labels, minlength=7) / len(fer.train.labels)), None
    predictor = Predictor(path)
    if predictor.model.metadata.get("protocol", "train-only") != "train-only":
        raise InputError(f"{path}: the table is of the train-only protocol, this model has another")
    noisy = predictor.model.metadata.get("config", {}).get("adversary", {}).get("method") == "noise"
    sigma = smoothing.trained_sigma(predictor.model.metadata) if noisy else None
    return scorecard.Subject(predictor.logits_fn, predictor.model.temperature), sigma


def fill(
    journal: Journal, measures: "list[Measure]", subject: "Subject", test: "Split", rows: np.ndarray, name: str
) -> None:
    """Measure what the journal does not know yet."""
    import jax

    from fer_jax import scorecard

    chunks = [
        (number, measure, chunk)
        for number, measure in enumerate(measures)
        for chunk in np.array_split(rows[: measure.images], -(-min(len(rows), measure.images) // measure.together))
    ]
    for number, measure, chunk in tqdm(chunks, desc=name, unit="batch", disable=None):
        known = journal.table[journal.table["measure"] == measure.name]["row"]
        if not len(chunk := chunk[~np.isin(chunk, known)]):
            continue
        left = journal.table[(journal.table["measure"] == measure.smaller) & (journal.table["value"] > 0)]
        alive = np.isin(chunk, left["row"]) if measure.smaller else np.ones(len(chunk), bool)
        key = jax.random.fold_in(jax.random.key(number), int(chunk[0]))
        values = scorecard.run(measure, key, subject, test.images[chunk], test.labels[chunk], alive)
        journal.add(measure=measure.name, row=chunk, value=values)


def suspicions_of(subject: "Subject", test: "Split", rows: np.ndarray) -> list[str]:
    import jax

    from fer_jax import masking

    few = np.random.default_rng(1).permutation(rows)[:CHECKED]
    found = masking.measure(subject.logits_fn, test.images[few], test.labels[few], key=jax.random.key(0), eps=4 / 255)
    return masking.suspicions(found)


def write(table: pd.DataFrame, suspicions: dict[str, list[str]], out: Path, command: str) -> None:
    from fer_jax import plots

    with files.replacing(out / "table.csv") as temporary:
        columns = ["model", "measure", "value", "n", "low", "high", "sha256"]
        table[columns].to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(out / "masking.json") as temporary:
        temporary.write_text(json.dumps(suspicions, indent=2) + "\n")
    with files.replacing(out / "table.md") as temporary:
        temporary.write_text(f"{markdown(table)}\n{NOTE}\nMade by `{command}`.\n")
    with files.replacing(out / "robustness.png") as temporary:
        plots.accuracy_over_eps(curves(table), "Accuracy under AutoAttack, Linf").savefig(temporary)
    print(markdown(table))
    for name, sentences in suspicions.items():
        print(f"{name}: " + (" ".join(sentences) or "no sign of a masked gradient"))
    print(f"wrote {out}/table.csv, table.md, masking.json, robustness.png")


def command_of(args: argparse.Namespace) -> str:
    """What gives these figures, without the folders: they change nothing, and a table is not to tell where it was made."""
    models = [f"{name}={path.name if path.is_absolute() else path}" for name, path in args.models.items()]
    numbers = [f"--{name} {getattr(args, name)}" for name in ("n", "queries", "certify", "copies")]
    return " ".join(["python scripts/robustness_table.py --models", *models, *numbers])


def curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracy under AutoAttack by eps (Linf), of each network."""
    from fer_jax import scorecard

    levels = pd.DataFrame({"measure": ["clean", *scorecard.AUTOATTACK], "eps": [0.0, *scorecard.AUTOATTACK.values()]})
    found = levels.merge(table, on="measure").rename(columns={"value": "accuracy"})
    return {str(model): rows for model, rows in found.groupby("model", sort=False)}


def markdown(table: pd.DataFrame) -> str:
    """A row per network, a column per measure, in percent; with the number of images below the heading."""
    measures = list(dict.fromkeys(table["measure"]))
    counts = {name: table["n"][table["measure"] == name].max() for name in measures}
    lines = [["model", *measures], ["---"] * (len(measures) + 1), ["images", *(f"{counts[name]:,}" for name in measures)]]
    for model, figures in table.groupby("model", sort=False):
        values = dict(zip(figures["measure"], figures["value"], strict=True))
        shown = (values.get(name, np.nan) for name in measures)
        lines.append([str(model), *("" if np.isnan(value) else f"{100 * value:.1f}" for value in shown)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def parse_model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (separator and name and path) or name == CONSTANT:
        raise argparse.ArgumentTypeError(f"must be NAME=FILE, NAME not {CONSTANT}, received {text!r}")
    return name, Path(path)


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    standard = ("standard", ROOT / "results" / "model" / "my_own_model.pkl")
    text = "networks by name (default: the shipped one)"
    parser.add_argument("--models", type=parse_model, nargs="+", default=[standard], metavar="NAME=FILE", help=text)
    parser.add_argument("--n", type=int, default=1000, help="test images (default: 1000)")
    parser.add_argument("--queries", type=int, default=5000, help="of AutoAttack's Square (default: 5000)")
    parser.add_argument("--certify", type=int, default=500, help="of the test images, to be certified (default: 500)")
    parser.add_argument("--copies", type=int, default=10_000, help="noisy copies for each certificate (default: 10000)")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)")
    work, out = Path("runs") / "robustness_table", Path("results") / "robustness"
    parser.add_argument("--work", type=Path, default=work, metavar="FOLDER", help=f"default: {work}")
    parser.add_argument("--out", type=Path, default=out, metavar="FOLDER", help=f"default: {out}")
    args = parser.parse_args()
    if min(args.n, args.queries, args.certify, args.copies) < 1:
        parser.error("--n, --queries, --certify and --copies must be at least 1")
    if len(dict(args.models)) < len(args.models):
        parser.error("--models must have different names")
    args.models = dict(args.models)
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
