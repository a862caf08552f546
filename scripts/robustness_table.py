"""The robustness table: every shipped network, on the same test images, under the same attacks."""

import argparse
import functools
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, labels, runtime
from fer_jax.errors import InputError
from fer_jax.robustness.journal import Journal

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Fer2013, Split
    from fer_jax.predict import Predictor
    from fer_jax.robustness.scorecard import Measure, Subject

ROOT = Path(__file__).resolve().parents[1]
CONSTANT = "constant"
CHECKED = 128  # images on which gradients are looked at
ENOUGH = 0.9  # of a measure's images, for a table of what is known so far
# eps at which they are, or at a fraction of it that leaves the network some accuracy
LARGEST = 8 / 255
COLUMNS = ["model", "attacked", "measure", "value", "n", "low", "high", "sha256", "command"]
NOTE = """\
All figures lie in [0, 1]. Clean accuracy, macro recall and calibration error are of the whole test set (PublicTest and
PrivateTest). The attacks see a random sample of it, the same images for every row; what is certified is a random sample of
its own, the very images that `certify.py` takes for as many. Intervals: 95 %, Wilson's for shares of images, else normal.

Attacks know the network and are untargeted; AutoAttack is the standard ensemble, with 5,000 queries of Square unless the
command says otherwise, and what a smaller ball breaks counts as broken in a larger one. "happy to sad" is the share of the
images given more than 90 % Happy, rightly, that a targeted PGD-50 turns into Sad with whole grey levels. Of a row trained
with noise the base classifier is attacked, without the smoothing; its certified accuracy is that of the smoothed classifier.
The constant row gives every image the most frequent class of the training set: the floor, which no attack can change.
With --so-far, what is not known of nine tenths of its images is left empty.

What this shows: how much accuracy is left against an opponent who may change every pixel by a little. What it does not
show: safety against larger or other changes (glasses, make-up, a turned head), on other data, or against attacks to come.
An empirical figure is an upper bound of the true robust accuracy, a certified one a lower bound.
"""
EPILOG = """example:
  python scripts/robustness_table.py --models standard=results/model/my_own_model.pkl fgsm_rs=results/robust/fgsm_rs.pkl

Takes hours; what was found lies in WORK/NAME-HASH and is never mixed between models: the same command goes on where it was
stopped. Writes OUT/table.csv, table.md, masking.json and robustness.png.
"""


class Row(NamedTuple):
    """A row of the table: a network, its file's hash, and what is measured of it.

    Attributes:
        attacked: what the attacks see, in words.
        found: what was measured so far.
    """

    name: str
    subject: "Subject"
    attacked: str
    digest: str
    measures: "list[Measure]"
    found: Journal


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data

    check(args)
    networks = {name: load(path) for name, path in args.models.items()}
    fer = data.load(args.data)
    data.sample(fer.test, args.certify, "--certify")
    few = np.random.default_rng(1).permutation(data.sample(fer.test, args.n))[:CHECKED]
    rows = [
        make_row(name, predictor, digest, fer, args)
        for name, (predictor, digest) in networks.items()
    ]
    rows.append(make_row(CONSTANT, None, "", fer, args))
    parts, gradients = [], {}
    for row in rows:
        if not args.so_far:
            fill(row, fer.test)
        parts.append(figures(row, fer.test, args.so_far))
        other = next((each for each in rows if not each.subject.constant and each is not row), None)
        look = (
            None if args.so_far else functools.partial(look_at_gradient, row, other, fer.test, few)
        )
        gradients[row.name] = known_gradient(row, other, look)
    write(pd.concat(parts, ignore_index=True).assign(command=command_of(args)), gradients, args.out)


def load(path: Path) -> "tuple[Predictor, str]":
    """A network that can stand in the table, and its file's hash."""
    from fer_jax.predict import Predictor
    from fer_jax.robustness import smoothing

    predictor = Predictor(path)
    metadata = predictor.model.metadata
    if metadata.get("protocol", "train-only") != "train-only":
        raise InputError(f"{path}: the table is of the train-only protocol, this model has another")
    if predictor.emotions != labels.EMOTIONS:
        raise InputError(
            f"{path}: the table is of {', '.join(labels.EMOTIONS)}, this model knows other emotions"
        )
    if smoothing.trained_with_noise(metadata):
        try:
            smoothing.check_sigma(smoothing.trained_sigma(metadata))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return predictor, files.digest(path)


def check(args: argparse.Namespace) -> None:
    """Refuse now what would be refused after hours of attacks."""
    from fer_jax.robustness import scorecard, smoothing

    if args.copies < (needed := smoothing.smallest_n(scorecard.ALPHA)):
        rule = (
            f"--copies must be at least {needed} to certify anything with alpha {scorecard.ALPHA:g}"
        )
        raise InputError(f"{rule}, received {args.copies}")
    files.require_folder(args.out)


def make_row(
    name: str, predictor: "Predictor | None", digest: str, fer: "Fer2013", args: argparse.Namespace
) -> Row:
    """A network's row; without one the constant classifier's. Its journal refuses findings of other
    settings.
    """
    from fer_jax.robustness import scorecard, smoothing

    measures = [
        *scorecard.attack_measures(args.n, args.queries),
        scorecard.corruption_measure(args.n),
    ]
    if predictor is None:
        frequencies = np.bincount(fer.train.labels, minlength=len(labels.EMOTIONS)) / len(
            fer.train.labels
        )
        # any noise is as good
        subject, attacked, sigma = scorecard.constant(frequencies), "constant classifier", 1.0
    else:
        subject, attacked, sigma = (
            scorecard.Subject(predictor.logits_fn, predictor.model.temperature),
            "network",
            None,
        )
        if smoothing.trained_with_noise(predictor.model.metadata):
            attacked, sigma = "base classifier", smoothing.trained_sigma(predictor.model.metadata)
    if sigma is not None:
        measures.append(scorecard.certified_measure(args.certify, sigma, args.copies))
    settings = {
        "model": digest,
        "data": fer.digest,
        "n": args.n,
        "queries": args.queries,
        "copies": args.copies,
    }
    journal = Journal(args.work / f"{name}-{digest[:8]}", settings, ("measure", "row", "value"))
    return Row(name, subject, attacked, digest, measures, journal)


def fill(row: Row, test: "Split") -> None:
    """Measure what the journal does not know yet."""
    import jax

    from fer_jax import data
    from fer_jax.robustness import scorecard

    chunks = [
        (number, measure, chunk)
        for number, measure in enumerate(row.measures)
        for chunk in np.array_split(
            data.sample(test, measure.images), -(-measure.images // measure.together)
        )
    ]
    for number, measure, chunk in tqdm(chunks, desc=row.name, unit="batch", disable=None):
        found = row.found.table
        known = found[found["measure"] == measure.name]["row"]
        if not len(chunk := chunk[~np.isin(chunk, known)]):
            continue
        left = found[(found["measure"] == measure.smaller) & (found["value"] > 0)]
        alive = np.isin(chunk, left["row"]) if measure.smaller else np.ones(len(chunk), bool)
        key = jax.random.fold_in(jax.random.key(number), int(chunk[0]))
        values = scorecard.run(
            measure, key, row.subject, test.images[chunk], test.labels[chunk], alive
        )
        row.found.add(measure=measure.name, row=chunk, value=values)


def figures(row: Row, test: "Split", so_far: bool) -> pd.DataFrame:
    """One network's figures, long form; the journal may know more images than this command asks
    for.

    `so_far`: it may know fewer, too. The sample is in the order of the test set: its first part is
    no random one.
    """
    from fer_jax import data
    from fer_jax.evaluation.logits import predict_logits
    from fer_jax.robustness import scorecard

    found, parts = row.found.table, []
    for measure in row.measures:
        part = found[
            (found["measure"] == measure.name)
            & np.isin(found["row"], data.sample(test, measure.images))
        ]
        if not so_far or len(part) >= ENOUGH * measure.images:
            parts.append(part)
    logits = predict_logits(row.subject.logits_fn, test.images, progress=True)
    plain = scorecard.of_predictions(row.subject, logits, test.labels)
    table = pd.concat(
        [plain, *([scorecard.tabulate(pd.concat(parts))] if parts else [])], ignore_index=True
    )
    smoothed = table["measure"].str.startswith("certified") & (not row.subject.constant)
    return table.assign(
        model=row.name,
        attacked=np.where(smoothed, "smoothed classifier", row.attacked),
        sha256=row.digest,
    )


def known_gradient(
    row: Row, other: Row | None, look: Callable[[], dict[str, Any]] | None
) -> dict[str, Any]:
    """What `look` found of this network with this other one's images before, or finds now: it takes
    minutes on a CPU.

    Without `look`, what was found of it with whatever images.
    """
    path = row.found.path.with_name("gradient.json")
    wanted = {"name": other and other.name, "sha256": other and other.digest}
    told = (
        files.read_json(path)
        if path.exists()
        else {"transfer": None, "found": {"says": "not checked yet."}}
    )
    if look is None or told["transfer"] == wanted:
        return told["found"]
    found = look()
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps({"transfer": wanted, "found": found}, indent=2) + "\n")
    return found


def look_at_gradient(row: Row, other: Row | None, test: "Split", few: np.ndarray) -> dict[str, Any]:
    """Signs of a masked gradient in words ("says"), and the figures behind them; `other` makes the
    images that transfer.
    """
    import jax

    from fer_jax.robustness import masking

    logits_fn, images, true = row.subject.logits_fn, test.images[few], test.labels[few]
    key, surrogate = jax.random.key(0), other.subject.logits_fn if other else None
    try:
        eps = masking.telling_eps(logits_fn, images, true, key=key, largest=LARGEST)
        found = masking.measure(logits_fn, images, true, key=key, eps=eps, surrogate=surrogate)
    except InputError as error:
        return {"says": f"not checked: {error}"}
    says = masking.suspicions(found) or ["no sign of a masked gradient."]
    if found.by_eps[eps] < masking.TELLING:
        says.append("So little is left that there is little to compare.")
    left = f"PGD at eps {255 * eps:.3g}/255 leaves {found.by_eps[eps]:.1%} of {found.n} images"
    transfer = f"transfer from {other.name}" if other else "no transfer: there is no other network"
    return {
        "says": f"{' '.join(says)} ({left}; {transfer})",
        "transfer_from": other and other.name,
        **found._asdict(),
    }


def write(table: pd.DataFrame, gradients: dict[str, dict], out: Path) -> None:
    from fer_jax import plots

    with files.replacing(out / "table.csv") as temporary:
        table[COLUMNS].to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(out / "masking.json") as temporary:
        temporary.write_text(json.dumps(gradients, indent=2) + "\n")
    says = [f"{name}: {found['says']}" for name, found in gradients.items()]
    with files.replacing(out / "table.md") as temporary:
        temporary.write_text(document(table, says))
    with files.replacing(out / "robustness.png") as temporary:
        plots.accuracy_over_eps(curves(table), "Accuracy under AutoAttack, Linf").savefig(temporary)
    print(markdown(table, value_of), *says, sep="\n")
    print(f"wrote {out}/table.csv, table.md, masking.json, robustness.png")


def command_of(args: argparse.Namespace) -> str:
    """What gives these figures, run from the top folder; without the folders that change nothing."""

    def own(path: Path) -> str:
        place = path.resolve()
        return (place.relative_to(ROOT) if place.is_relative_to(ROOT) else place).as_posix()

    numbers = [
        part
        for name in ("n", "queries", "certify", "copies")
        for part in (f"--{name}", str(getattr(args, name)))
    ]
    models = [f"{name}={own(path)}" for name, path in args.models.items()]
    so_far = ["--so-far", "--work", own(args.work)] if args.so_far else []
    return shlex.join(
        ["python", "scripts/robustness_table.py", "--models", *models, *numbers, *so_far]
    )


def curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracy under AutoAttack by eps (Linf), of each network."""
    from fer_jax.robustness import scorecard

    levels = pd.DataFrame(
        {"measure": ["clean", *scorecard.AUTOATTACK], "eps": [0.0, *scorecard.AUTOATTACK.values()]}
    )
    found = levels.merge(table, on="measure").rename(columns={"value": "accuracy"})
    return {str(model): rows for model, rows in found.groupby("model", sort=False)}


def document(table: pd.DataFrame, says: list[str]) -> str:
    """table.md: the figures, their intervals, whose they are, what their gradients look like, and
    how they were made.
    """
    networks = table.drop_duplicates("model")
    columns = (networks[column] for column in ("model", "attacked", "sha256"))
    lines = [
        f"| {model} | {attacked} | {sha256 or '-'} |\n"
        for model, attacked, sha256 in zip(*columns, strict=True)
    ]
    return "\n".join(
        [
            markdown(table, value_of),
            "Intervals (95 %) and the number of images:\n",
            markdown(table, interval_of),
            "Networks:\n",
            "| model | attacked | sha256 of its file |\n| --- | --- | --- |\n" + "".join(lines),
            NOTE,
            "Signs of masked gradients:\n",
            "".join(f"- {line}\n" for line in says),
            f"Made by `{table['command'].iloc[0]}`.\n",
        ]
    )


def value_of(figure: pd.Series) -> str:
    return "" if np.isnan(figure["value"]) else f"{figure['value']:.3f}"


def interval_of(figure: pd.Series) -> str:
    return (
        ""
        if np.isnan(figure["value"])
        else f"{figure['low']:.3f} to {figure['high']:.3f}, {figure['n']:,}"
    )


def markdown(table: pd.DataFrame, cell: Callable[[pd.Series], str]) -> str:
    """A row per network, a column per measure, `cell` of the figure in each."""
    measures = list(dict.fromkeys(table["measure"]))
    lines = [["model", *measures], ["---"] * (len(measures) + 1)]
    for model, rows in table.groupby("model", sort=False):
        cells = {figure["measure"]: cell(figure) for _, figure in rows.iterrows()}
        lines.append([str(model), *(cells.get(measure, "") for measure in measures)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def parse_model(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not (separator and path and re.fullmatch(r"[\w.-]+", name)) or name == CONSTANT:
        rule = f"must be NAME=FILE, NAME of letters, digits, -, _ and ., and not {CONSTANT}"
        raise argparse.ArgumentTypeError(f"{rule}, received {text!r}")
    return name, Path(path)


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    standard = ("standard", ROOT / "results" / "model" / "my_own_model.pkl")
    text = "networks by name (default: the shipped one)"
    parser.add_argument(
        "--models", type=parse_model, nargs="+", default=[standard], metavar="NAME=FILE", help=text
    )
    parser.add_argument("--n", type=int, default=1000, help="test images (default: 1000)")
    parser.add_argument(
        "--queries", type=int, default=5000, help="of AutoAttack's Square (default: 5000)"
    )
    parser.add_argument(
        "--certify",
        type=int,
        default=500,
        help="of the test images, to be certified (default: 500)",
    )
    parser.add_argument(
        "--copies",
        type=int,
        default=10_000,
        help="noisy copies for each certificate (default: 10000)",
    )
    text = "measure nothing: tell what is known of nine tenths of the images or more"
    parser.add_argument("--so-far", action="store_true", help=text)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    work, out = Path("runs") / "robustness_table", Path("results") / "robustness"
    parser.add_argument(
        "--work", type=Path, default=work, metavar="FOLDER", help=f"default: {work}"
    )
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
