"""Measure models on a sample of test images: under attack, certified, corrupted, hacked.

`attack_bench`, `certify`, `corruption_bench` and `hack_rate` take the options of the script of that
name. What the first two find is kept image by image: a stopped run goes on where it was.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import data, files, plots
from fer_jax.attacks import ATTACKS, NORMS, auto, linf, transferred
from fer_jax.data import Fer2013, Split
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import attacked, broken_by
from fer_jax.predict import Predictor, default_model_path
from fer_jax.robustness import hack, masking, scorecard, smoothing
from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from fer_jax.robustness.hack import SURE
from fer_jax.robustness.journal import Journal
from fer_jax.types import Attack, LogitsFn

# what findings under attack depend on, apart from the files
SETTINGS = ("attack", "norm", "n", "steps", "restarts", "queries", "seed")
CERTIFIED = ("row", "label", "prediction", "radius", "count", "broken")
# of `hack_rate`: eps, of 255; methods; images attacked at once
LEVELS = (1, 2, 4, 8)
HACKED_BY = ("pgd", "apgd")
TOGETHER = 64
POINTS = (0.0, 0.25, 0.5, 0.75)  # certified radii that are printed
SHARE = ["n", "accuracy", "low", "high"]


def attack_bench(args: Namespace) -> None:
    """Attack what is not known yet; write robustness.csv, .json and .png, and print the figures.

    Too few images, a surrogate for other classes, findings of other settings: an `InputError`.
    """
    path = args.model or default_model_path()
    fer, [(predictor, test)] = opened([path], args.data)
    settings = {"model": files.digest(path)}
    settings |= {name: getattr(args, name) for name in SETTINGS}
    surrogate = None
    if args.surrogate:
        other = Predictor(args.surrogate)
        if other.emotions != predictor.emotions:
            rule = f"the surrogate must know the model's classes, received {other.emotions}"
            raise InputError(f"{args.surrogate}: {rule}")
        surrogate = other.logits_fn
        settings["surrogate"] = files.digest(args.surrogate)
    rows = data.sample(test, args.n)
    settings["data"] = fer.digest
    journal = Journal(args.out, settings, ("eps", "row", "broken"))
    search(args, predictor.logits_fn, surrogate, test, rows, journal)
    table = tabulate(journal.table, list(stages(args, 1.0)), args.eps)
    for _, row in table.iterrows():
        size = f"{row.eps * 255:.3g}/255" if args.norm == "linf" else f"{row.eps:.3g}"
        print(f"{args.norm} {size:8} {row.stage:10} {row.accuracy:7.2%}  {interval(row)}")
    figure = plots.robust_accuracy(table, f"{args.attack}, {args.norm}, {args.n:,} test images")
    report = {**settings, "results": table.to_dict("records")}
    publish(args.out, "robustness", table, report, figure)
    if args.check_masking:
        options = {"key": jax.random.key(args.seed), "norm": NORMS[args.norm]}
        options |= {"surrogate": surrogate, "batch_size": scorecard.at_once()}
        largest = min(args.eps)
        signs = masking.look(predictor.logits_fn, test, rows, largest=largest, **options)
        print(f"masked gradients, looked for at eps {signs.eps:.3g} in {signs.n} images:")
        print(*(masking.suspicions(signs) or ["nothing suspicious"]), sep="\n")


def opened(paths: list[Path], folder: Path) -> tuple[Fer2013, list[tuple[Predictor, Split]]]:
    """Return FER-2013, and each model with the test images that its protocol reports on."""
    fer = data.load(folder)
    predictors = [Predictor(path) for path in paths]
    models = [predictor.model for predictor in predictors]
    tests = [data.reported_by(each.metadata, each.labels, fer, folder)[0] for each in models]
    return fer, list(zip(predictors, tests, strict=True))


def publish(out: Path, name: str, table: pd.DataFrame, report: dict, figure=None) -> None:
    """Write NAME.csv, NAME.json and NAME.png, and say so."""
    written = [f"{name}.csv", f"{name}.json"]
    with files.replacing(out / written[0]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    files.write_json(out / written[1], report)
    if figure is not None:
        written.append(f"{name}.png")
        plots.save(figure, out / written[2])
    print(f"wrote {out}/{', '.join(written)}")


def share(right: int, n: int) -> tuple[float, ...]:
    """Return `SHARE`: of n images, the share that is right, with its 95 % interval."""
    return n, right / n, *metrics.wilson(right, n)


def interval(row: Any) -> str:
    return f"95% interval {row.low:.2%} to {row.high:.2%}"


def stages(args: Namespace, eps: float) -> dict[str, Attack]:
    """Return the attacks at an eps by name: of AutoAttack its stages, otherwise one."""
    if args.attack == "autoattack":
        return auto.stages(eps, NORMS[args.norm], args.steps, args.queries)
    options = {"restarts": args.restarts, "queries": args.queries}
    attack = ATTACKS[args.attack].build(eps, args.norm, args.steps, **options)
    return {args.attack: attack}


def search(
    args: Namespace, logits_fn: LogitsFn, surrogate, test: Split, rows: np.ndarray, journal: Journal
) -> None:
    """Attack the rows that the journal does not know yet, at every eps."""
    options = {"norm": NORMS[args.norm], "batch_size": scorecard.at_once()}
    total = len(rows) * len(args.eps)
    with tqdm(total=total, desc=args.attack, unit="image", disable=None) as bar:
        for eps in args.eps:
            attacks = stages(args, eps)
            if surrogate:
                attacks = {name: transferred(each, surrogate) for name, each in attacks.items()}
            for piece in journal.missing(rows, scorecard.kept(), eps=eps):
                key = jax.random.fold_in(jax.random.key(args.seed), int(piece[0]))
                given = test.images[piece], test.labels[piece]
                broken = broken_by(attacks, logits_fn, *given, key=key, eps=eps, **options)
                journal.add(eps=eps, row=piece, broken=broken)
                bar.update(len(piece))


def tabulate(found: pd.DataFrame, stages: list[str], levels: list[float]) -> pd.DataFrame:
    """Return the accuracy that each stage leaves at each eps, with a 95 % interval.

    Stage "clean" is before all. What a stage breaks within one ball it breaks within every larger
    one, which holds the smaller.
    """
    rows = []
    broken = len(stages)
    for eps in sorted(levels):
        level = found.loc[np.isclose(found["eps"], eps, rtol=1e-9)].sort_values("row")
        broken = np.minimum(broken, level["broken"].to_numpy())
        for number, stage in enumerate(["clean", *stages]):
            robust = int((broken >= number).sum())
            rows.append((eps, stage, robust, *share(robust, len(broken))))
    return pd.DataFrame(rows, columns=["eps", "stage", "robust", *SHARE])


def certify(args: Namespace) -> None:
    """Certify what is not known yet; write certified.csv, .json and .png, and print the figures.

    Settings that certify nothing, and findings of other settings, are an `InputError`.
    """
    path = args.model or default_model_path()
    fer, [(predictor, test)] = opened([path], args.data)
    noise = smoothing.trained_sigma(predictor.model.metadata)
    sigma = noise if args.sigma is None else args.sigma
    smoothing.check(sigma, args.n0, args.n, args.alpha)
    rows = data.sample(test, args.images, "--images")
    options = {"sigma": sigma, "n": args.n, "n0": args.n0, "alpha": args.alpha}
    settings = {"model": files.digest(path), **options, "images": args.images, "pgd": args.pgd}
    settings["data"] = fer.digest
    out = args.out or files.root() / "runs" / "certify" / f"{path.stem}-{sigma:g}"
    journal = Journal(out, settings, CERTIFIED)
    left = rows[~np.isin(rows, journal.table["row"])].tolist()
    for row in tqdm(left, desc="certifying", unit="image", disable=None):
        image = test.images[row, :, :, None] / np.float32(255)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), row), 3)
        certificate = smoothing.certify(keys[0], predictor.logits_fn, image, **options)
        broken = -1
        if args.pgd and certificate.prediction != smoothing.ABSTAIN:
            claim = (predictor.logits_fn, image, certificate)
            changed = smoothing.attack(keys[1], *claim, sigma=sigma, steps=args.pgd)
            again = smoothing.certify(keys[2], predictor.logits_fn, changed, **options)
            broken = int(again.prediction not in (certificate.prediction, smoothing.ABSTAIN))
        values = (row, int(test.labels[row]), *certificate, broken)
        journal.add(**{name: [value] for name, value in zip(CERTIFIED, values, strict=True)})
    report_certified(out, settings, journal.table)


def certified_accuracy(found: pd.DataFrame, radii: np.ndarray) -> pd.DataFrame:
    """Return how many images are predicted right and certified that far, one row per radius."""
    reach = np.where(found["prediction"] == found["label"], found["radius"], -1.0)
    counts = [int((reach >= radius).sum()) for radius in radii]
    rows = [(*each, *share(each[1], len(found))) for each in zip(radii, counts, strict=True)]
    return pd.DataFrame(rows, columns=["radius", "certified", *SHARE])


def report_certified(out: Path, settings: dict[str, Any], found: pd.DataFrame) -> None:
    sigma, n, alpha = (settings[name] for name in ("sigma", "n", "alpha"))
    largest = smoothing.largest_radius(sigma, n, alpha)
    curve = certified_accuracy(found, np.arange(round(100 * max(largest, POINTS[-1])) + 2) / 100)
    points = certified_accuracy(found, np.array(POINTS))
    abstained = int(np.count_nonzero(found["prediction"] == smoothing.ABSTAIN))
    tried, broken = (int(np.count_nonzero(found["broken"] >= least)) for least in (0, 1))
    for _, row in points.iterrows():
        accuracy = f"{row.radius:<5g}{row.accuracy:7.2%}"
        print(f"certified accuracy at L2 {accuracy}  {interval(row)}")
    limit = f"no radius above {largest:.3f} can be certified"
    print(f"abstained on {abstained} of {len(found)} images; {limit}")
    if settings["pgd"]:
        print(f"PGD within the certified radius broke {broken} of {tried} certificates")
    report = settings | {"largest_radius": largest, "abstained": abstained, "attacked": tried}
    report |= {"broken": broken, "results": points.to_dict("records")}
    title = f"{len(found):,} test images, sigma {sigma:g}, n {n:,}, alpha {alpha:g}"
    publish(out, "certified", curve, report, plots.certified_accuracy(curve, largest, title))


def corruption_bench(args: Namespace) -> None:
    """Corrupt, write corruptions.csv, .json and .png, and print the figures."""
    paths = list(dict.fromkeys(args.model or [default_model_path()]))
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    fer, tested = opened(paths, args.data)
    settings = [("clean", 0), *((kind, each) for kind in CORRUPTIONS for each in SEVERITIES)]
    rows = []
    total = len(paths) * len(settings)
    with tqdm(total=total, desc="corruptions", unit="setting", disable=None) as progress:
        for name, (predictor, test) in zip(names, tested, strict=True):
            sample = data.sample(test, args.n)
            images, labels = test.images[sample], test.labels[sample]
            for kind, severity in settings:
                worse = corrupt(kind, images, severity, args.seed) if severity else images
                right = int((predictor.logits(worse)[0].argmax(axis=1) == labels).sum())
                rows.append((name, kind, severity, right, *share(right, args.n)))
                progress.update()
    table = pd.DataFrame(rows, columns=["model", "corruption", "severity", "correct", *SHARE])
    models = {}
    for name, path in zip(names, paths, strict=True):
        own = table.loc[table["model"] == name]
        worse = own.loc[own["severity"] > 0]
        clean = own.loc[own["severity"] == 0, "accuracy"].item()
        mean = float(worse["accuracy"].to_numpy().mean())
        groups = worse.groupby("corruption", sort=False)["accuracy"]
        kinds = {kind: list(accuracies) for kind, accuracies in groups}
        models[name] = {"model": files.digest(path), "clean": clean}
        models[name] |= {"mean_corruption_accuracy": mean, "by_severity": kinds}
        print(f"{name}: clean {clean:.2%}, mean corruption accuracy {mean:.2%}")
        for kind, accuracies in kinds.items():
            print(f"  {kind:16}" + "".join(f"{accuracy:8.1%}" for accuracy in accuracies))
    report = {"n": args.n, "seed": args.seed, "data": fer.digest, "models": models}
    figure = plots.corruption_accuracy(table, f"{args.n:,} test images")
    publish(args.out, "corruptions", table, report, figure)


def hack_rate(args: Namespace) -> None:
    """Hack at every level by every method; write success.csv and .json, and print the figures.

    An unknown emotion, or a network that is sure of no image, is an `InputError`.
    """
    path = args.model or default_model_path()
    fer, [(predictor, test)] = opened([path], args.data)
    source, target = predictor.label(args.source), predictor.label(args.target)
    images = test.images[test.labels == source]
    images = images[predictor(images, progress=True)[:, source] > SURE]
    if not len(images):
        rule = f"the network must be sure of a test image labelled {args.source}"
        raise InputError(f"{args.data}: {rule}, it is of none")
    rows = np.random.default_rng(0).permutation(len(images))[: args.images]
    images = images[np.sort(rows)]
    results = []
    for method in HACKED_BY:
        for level in LEVELS:
            settings = hack.Settings(method, "linf", args.steps, level / 255, seed=args.seed)
            reached, ssim = hacked(settings, predictor.logits_fn, images, target)
            successes = int(reached.sum())
            n, rate, low, high = share(successes, len(reached))
            row = {"method": method, "eps": f"{level}/255", "images": n, "successes": successes}
            row |= {"rate": rate, "low": low, "high": high, "mean_ssim": float(ssim.mean())}
            results.append(row)
            count = f"{successes:,} of {n:,}, {rate:.1%} (95% interval {low:.1%} to {high:.1%})"
            size = f"{method:5} linf {row['eps']:6}"
            print(f"{size} {count}, mean SSIM {row['mean_ssim']:.4f}", flush=True)
    report = {name: getattr(args, name) for name in ("source", "target", "steps", "seed")}
    report |= {"sure": SURE, "norm": "linf", "model": files.digest(path), "data": fer.digest}
    report["results"] = results
    publish(args.out, "success", pd.DataFrame(results), report)


def hacked(
    settings: hack.Settings, logits_fn: LogitsFn, images: np.ndarray, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each rounded image is seen as the target, bool [N], and its SSIM, [N]."""
    eps = settings.eps or 0.0
    options = {"norm": linf, "eps": eps, "targeted": True, "batch_size": TOGETHER}
    climb = hack.make_attack(settings, eps)
    results = []
    starts = range(0, len(images), TOGETHER)
    for start in tqdm(starts, f"eps {255 * eps:g}/255", unit="batch", leave=False, disable=None):
        chunk = images[start : start + TOGETHER]
        key = jax.random.fold_in(jax.random.key(settings.seed), start)
        goals = np.full(len(chunk), target)
        results.append(attacked(climb, logits_fn, chunk, goals, key=key, **options))
    reached = np.concatenate([result.reached_8bit for result in results])
    return reached, np.concatenate([result.ssim for result in results])
