"""Fill the robustness table: every network, on the same test images, under the same attacks.

What is measured of a network is kept in WORK/NAME-HASH, so that a stopped run goes on where it was.
"""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files, labels, plots
from fer_jax.data import Fer2013, Split
from fer_jax.errors import InputError
from fer_jax.evaluation.logits import predict_logits
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness import masking, scorecard, smoothing
from fer_jax.robustness.journal import Journal
from fer_jax.robustness.scorecard import Measure, Subject

CONSTANT = "constant"  # the name of the last row
ENOUGH = 0.9  # of a measure's images, for a table of what is known so far
LARGEST = 8 / 255  # eps at which gradients are looked at, or a fraction that leaves some accuracy
COLUMNS = ["model", "attacked", "measure", "value", "n", "low", "high", "sha256", "command"]
NOTE = """\
All figures lie in [0, 1]. Clean accuracy, macro recall and calibration error are of the whole test
set (PublicTest and PrivateTest). The attacks see a random sample of it, the same images for every
row; what is certified is a random sample of its own, the very images that `certify.py` takes for as
many. Intervals: 95 %, Wilson's for shares of images, else normal.

Attacks know the network and are untargeted; AutoAttack is the standard ensemble, with 5,000 queries
of Square unless the command says otherwise, and what a smaller ball breaks counts as broken in a
larger one. "happy to sad" is the share of the images given more than 90 % Happy, rightly, that a
targeted PGD-50 turns into Sad with whole grey levels. Of a row trained with noise the base
classifier is attacked, without the smoothing; its certified accuracy is that of the smoothed
classifier. The constant row gives every image the most frequent class of the training set: the
floor, which no attack can change. With --so-far, what is not known of nine tenths of its images is
left empty.

What this shows: how much accuracy is left against an opponent who may change every pixel by a
little. What it does not show: safety against larger or other changes (glasses, make-up, a turned
head), on other data, or against attacks to come. An empirical figure is an upper bound of the true
robust accuracy, a certified one a lower bound.
"""


class Network(NamedTuple):
    """What a row of the table is about."""

    subject: Subject
    attacked: str  # what the attacks see, in words
    digest: str  # sha256 of the model file; empty for the constant classifier
    sigma: float | None  # noise of the smoothed classifier; None: nothing is certified


class Row(NamedTuple):
    """A row of the table: a network, what is measured of it, and what was measured so far."""

    name: str
    network: Network
    measures: list[Measure]
    journal: Journal


def run(args: Namespace) -> None:
    """Measure as the options of `scripts/robustness_table.py` say; write and print the table.

    What would be refused after hours of attacks is an `InputError` before anything is measured.
    """
    needed = smoothing.smallest_n(scorecard.ALPHA)
    if args.copies < needed:
        rule = f"must be at least {needed} to certify anything with alpha {scorecard.ALPHA:g}"
        raise InputError(f"--copies {rule}, received {args.copies}")
    files.require_folder(args.out)
    models = args.models or {"standard": default_model_path()}
    networks = {name: load(path) for name, path in models.items()}
    fer = data.load(args.data)
    test = fer.test
    data.sample(test, args.certify, "--certify")
    sample = data.sample(test, args.n)
    counts = np.bincount(fer.train.labels, minlength=labels.NUM_CLASSES)
    floor = scorecard.constant(counts / len(fer.train.labels))
    # sigma: any noise is as good
    networks[CONSTANT] = Network(floor, "constant classifier", "", sigma=1.0)
    rows = [make_row(name, network, fer, args) for name, network in networks.items()]
    parts, gradients = [], {}
    for row in rows:
        if not args.so_far:
            fill(row, test)
        parts.append(figures(row, test, args.so_far))
        other = next((each for each in rows if each.name not in (row.name, CONSTANT)), None)
        gradients[row.name] = gradient(row, other, test, None if args.so_far else sample)
    table = pd.concat(parts, ignore_index=True)
    write(table.assign(command=command_of(args, models)), gradients, args.out)


def load(path: Path) -> Network:
    """Load a network that can stand in the table.

    Another protocol, other emotions, and noise that is no size of noise are an `InputError`.
    """
    predictor = Predictor(path)
    metadata = predictor.model.metadata
    if metadata.get("protocol", "train-only") != "train-only":
        raise InputError(f"{path}: the table is of the train-only protocol, this model has another")
    if predictor.emotions != labels.EMOTIONS:
        rule = f"the table is of {', '.join(labels.EMOTIONS)}"
        raise InputError(f"{path}: {rule}, this model knows other emotions")
    subject = Subject(predictor.logits_fn, predictor.model.temperature)
    if smoothing.noise_settings(metadata) is None:
        return Network(subject, "network", files.digest(path), None)
    sigma = smoothing.trained_sigma(metadata)
    try:
        smoothing.check_sigma(sigma)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Network(subject, "base classifier", files.digest(path), sigma)


def make_row(name: str, network: Network, fer: Fer2013, args: Namespace) -> Row:
    """Open a network's row, whose journal refuses findings of other settings (`InputError`)."""
    sizes = args.n, args.queries, network.sigma, args.certify, args.copies
    settings = {"model": network.digest, "data": fer.digest, "n": args.n, "queries": args.queries}
    folder = args.work / f"{name}-{network.digest[:8]}"
    journal = Journal(folder, settings | {"copies": args.copies}, ("measure", "row", "value"))
    return Row(name, network, scorecard.measures(*sizes), journal)


def fill(row: Row, test: Split) -> None:
    """Measure what the journal does not know yet."""
    journal = row.journal
    total = sum(measure.images for measure in row.measures)
    with tqdm(total=total, desc=row.name, unit="image", disable=None) as bar:
        for number, measure in enumerate(row.measures):
            sample = data.sample(test, measure.images)
            for piece in journal.missing(sample, measure.together, measure=measure.name):
                found = journal.table
                left = found["row"][(found["measure"] == measure.smaller) & (found["value"] > 0)]
                alive = np.isin(piece, left) if measure.smaller else np.ones(len(piece), bool)
                key = jax.random.fold_in(jax.random.key(number), int(piece[0]))
                images, true = test.images[piece], test.labels[piece]
                values = scorecard.run(measure, key, row.network.subject, images, true, alive)
                journal.add(measure=measure.name, row=piece, value=values)
                bar.update(len(piece))


def figures(row: Row, test: Split, so_far: bool) -> pd.DataFrame:
    """Return one network's figures, long form, of the images that are asked for.

    With `so_far` a measure counts once most of its images are known: they are measured in the test
    set's order, of which a small part is no random one.
    """
    subject, found = row.network.subject, row.journal.table
    known = []
    for measure in row.measures:
        sampled = np.isin(found["row"], data.sample(test, measure.images))
        part = found[(found["measure"] == measure.name) & sampled]
        if not so_far or len(part) >= ENOUGH * measure.images:
            known.append(part)
    logits = predict_logits(subject.logits_fn, test.images, progress=True)
    parts = [scorecard.of_predictions(subject, logits, test.labels)]
    if known:
        parts.append(scorecard.tabulate(pd.concat(known)))
    table = pd.concat(parts, ignore_index=True)
    smoothed = table["measure"].str.startswith("certified") & (not subject.constant)
    attacked = np.where(smoothed, "smoothed classifier", row.network.attacked)
    return table.assign(model=row.name, attacked=attacked, sha256=row.network.digest)


def gradient(row: Row, other: Row | None, test: Split, sample: np.ndarray | None) -> dict[str, Any]:
    """Return what was found of this network with images of the other, or look now: minutes.

    `sample` holds test rows; None: return what was found before, with whatever other network.
    """
    path = row.journal.path.with_name("gradient.json")
    known = files.read_json(path) if path.exists() else {"found": {"says": "not checked yet."}}
    transfer = {"name": other and other.name, "sha256": other and other.network.digest}
    if sample is not None and known.get("transfer") != transfer:
        found = look_at_gradient(row.network.subject, other, test, sample)
        known = {"transfer": transfer, "found": found}
        files.write_json(path, known)
    return known["found"]


def look_at_gradient(subject: Subject, other: Row | None, test: Split, sample) -> dict[str, Any]:
    """Return signs of a masked gradient in words ("says"), and the figures behind them."""
    options = {"key": jax.random.key(0), "largest": LARGEST}
    options["surrogate"] = other.network.subject.logits_fn if other else None
    try:
        found = masking.look(subject.logits_fn, test, sample, **options)
    except InputError as error:
        return {"says": f"not checked: {error}"}
    says = masking.suspicions(found) or ["no sign of a masked gradient."]
    accuracy = found.by_eps[found.eps]
    if accuracy < masking.TELLING:
        says.append("So little is left that there is little to compare.")
    left = f"PGD at eps {255 * found.eps:.3g}/255 leaves {accuracy:.1%} of {found.n} images"
    transfer = f"transfer from {other.name}" if other else "no transfer: there is no other network"
    text = f"{' '.join(says)} ({left}; {transfer})"
    return {"says": text, "transfer_from": other and other.name, **found._asdict()}


def command_of(args: Namespace, models: dict[str, Path]) -> str:
    """Return the command for these figures, run from the top, without `data` and `out`."""
    root = files.root().resolve()

    def own(path: Path) -> str:
        place = path.resolve()
        return (place.relative_to(root) if place.is_relative_to(root) else place).as_posix()

    words = ["python", "scripts/robustness_table.py", "--models"]
    words += [f"{name}={own(path)}" for name, path in models.items()]
    for name in ("n", "queries", "certify", "copies"):
        words += [f"--{name}", str(getattr(args, name))]
    if args.so_far:
        words += ["--so-far", "--work", own(args.work)]
    return shlex.join(words)


def write(table: pd.DataFrame, gradients: dict[str, dict[str, Any]], out: Path) -> None:
    """Write the table's four files and print it."""
    with files.replacing(out / "table.csv") as temporary:
        table[COLUMNS].to_csv(temporary, index=False, float_format="%.6g")
    files.write_json(out / "masking.json", gradients)
    says = [f"{name}: {found['says']}" for name, found in gradients.items()]
    with files.replacing(out / "table.md") as temporary:
        temporary.write_text(document(table, says))
    figure = plots.accuracy_over_eps(curves(table), "Accuracy under AutoAttack, Linf")
    plots.save(figure, out / "robustness.png")
    print(markdown(texts(table, "{value:.3f}")), *says, sep="\n")
    print(f"wrote {out}/table.csv, table.md, masking.json, robustness.png")


def curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return accuracy under AutoAttack by eps (Linf), of each network."""
    eps = {"clean": 0.0, **scorecard.AUTOATTACK}
    levels = pd.DataFrame(eps.items(), columns=["measure", "eps"])
    accuracies = levels.merge(table, on="measure").rename(columns={"value": "accuracy"})
    return {str(model): rows for model, rows in accuracies.groupby("model", sort=False)}


def document(table: pd.DataFrame, says: list[str]) -> str:
    """Return table.md: figures, intervals, networks, their gradients, and the command."""
    networks = pd.DataFrame(table.drop_duplicates("model")[["model", "attacked", "sha256"]])
    networks = networks.replace("", "-").rename(columns={"sha256": "sha256 of its file"})
    intervals = texts(table, "{low:.3f} to {high:.3f}, {n:,}")
    parts = [markdown(texts(table, "{value:.3f}")), "Intervals (95 %) and the number of images:\n"]
    parts += [markdown(intervals), "Networks:\n", markdown(networks), NOTE]
    parts += ["Signs of masked gradients:\n", "".join(f"- {line}\n" for line in says)]
    return "\n".join([*parts, f"Made by `{table['command'].iloc[0]}`.\n"])


def texts(table: pd.DataFrame, form: str) -> pd.DataFrame:
    """Return a row per network and a column per measure, `form` filled where a figure is known."""
    known = table.dropna(subset="value")
    cells = known.assign(text=[form.format(**figure) for figure in known.to_dict("records")])
    wide = cells.pivot(index="model", columns="measure", values="text")
    wide = wide.reindex(index=table["model"].unique(), columns=table["measure"].unique())
    return wide.fillna("").reset_index()


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
