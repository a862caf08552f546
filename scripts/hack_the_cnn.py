"""Change a face so that nobody sees it and the network says something else: Happy becomes Sad."""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_jax import cli, faces, files, labels, runtime
from fer_jax.errors import InputError

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.evaluate import Attacked
    from fer_jax.predict import Predictor
    from fer_jax.types import Attack

RESULTS = Path(__file__).resolve().parents[1] / "results"
SHIPPED = RESULTS / "preprocessing_test"
SURE = 0.9  # the probability that the image to be hacked must have
BOUNDED = ("fgsm", "bim", "pgd", "mifgsm", "apgd", "autoattack")  # look for a change of at most eps
SMALLEST = ("cw", "deepfool", "ddn", "fmn")  # look for the smallest change
NORMS_OF = {"pgd": ("linf", "l2"), "apgd": ("linf", "l2"), "autoattack": ("linf", "l2"), "deepfool": ("l2", "linf")}
NORMS_OF |= {"fmn": ("l2", "linf"), "cw": ("l2",), "ddn": ("l2",)}
GROWN = (1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)  # a smallest change ends on the boundary: rounding may undo it
SEARCHED = {"linf": [level / 255 for level in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)], "l2": [0.1 * k for k in range(1, 31)]}
EPILOG = """examples:
  python scripts/hack_the_cnn.py --method pgd
  python scripts/hack_the_cnn.py --method apgd --norm l2 --eps 0.4 --image 5

fgsm, bim, pgd, mifgsm, apgd and autoattack stay within --eps; without it the smallest that works is searched. cw, deepfool,
ddn and fmn look for the smallest change, which is then grown until it survives the rounding to 8 bits.

With FER-2013 in the data folder the image is a test image (--image ROW), else a face cut from the clip that comes with the
code. Exit code 1: no change was found.
"""


class Subject(NamedTuple):
    """An image to be hacked: uint8 [48, 48], where it comes from, and the folder for what becomes of it."""

    image: np.ndarray
    origin: str
    folder: Path


def main() -> int:
    args = parse_arguments()
    source, target = labels.index(args.source), labels.index(args.target)
    if source == target:
        raise InputError(f"--source and --target must differ, both are {args.source}")
    runtime.configure()
    from fer_jax.predict import Predictor

    predictor = Predictor(args.model)
    subject = choose(predictor, source, args)
    found, eps = search(predictor, subject.image, target, args)
    if found is None:
        print(f"{args.method} found no change of {subject.origin} up to {args.norm} {eps:.3g} that makes it {args.target}")
        return 1
    folder = args.out or subject.folder
    write(folder, subject, found, predictor, {"method": args.method, "norm": args.norm, "eps": eps, "steps": args.steps})
    return 0


def choose(predictor: "Predictor", source: int, args: argparse.Namespace) -> Subject:
    """The image asked for, else the first test image of the source class that the network is sure of."""
    from fer_jax import data

    try:
        fer = data.load(args.data)
    except InputError as error:
        if args.image is not None or args.data != Path("data"):
            raise
        print(f"note: {str(error).split(':')[0]} holds no FER-2013: hacking a shipped face", file=sys.stderr)
        return choose_shipped(predictor, source)
    test = fer.test
    rows = np.flatnonzero(test.labels == source) if args.image is None else np.array([args.image])
    if not 0 <= rows.min(initial=0) <= rows.max(initial=-1) < len(test.labels):
        raise InputError(f"--image must be a row of the test set, 0 to {len(test.labels) - 1}, received {args.image}")
    if (test.labels[rows] != source).any():
        raise InputError(f"--image {args.image} is labelled {labels.EMOTIONS[test.labels[args.image]]}, not {args.source}")
    probabilities = predictor(test.images[rows], progress=True)
    first = int((probabilities[:, source] > SURE).argmax())
    check_sure(probabilities[first], source, "the test set" if args.image is None else f"test image {args.image}")
    row = int(rows[first])
    return Subject(test.images[row], f"test row {row}", RESULTS / "hack_cnn" / str(row))


def choose_shipped(predictor: "Predictor", source: int) -> Subject:
    paths = sorted(SHIPPED.glob("image*.png"), key=lambda path: int(path.stem.removeprefix("image")))
    images = np.stack([faces.read_image(path) for path in paths])
    probabilities = predictor(images)
    row = int(probabilities[:, source].argmax())
    check_sure(probabilities[row], source, f"the shipped faces in {SHIPPED}")
    return Subject(images[row], paths[row].name, RESULTS / "hack_cnn")


def check_sure(probabilities: np.ndarray, source: int, where: str) -> None:
    if probabilities[source] <= SURE:
        name, received = labels.EMOTIONS[source], f"{probabilities[source]:.1%}"
        raise InputError(f"{where}: the network must say {name} with more than {SURE:.0%}, it says {received}")


def search(
    predictor: "Predictor", image: np.ndarray, target: int, args: argparse.Namespace
) -> tuple["Attacked | None", float]:
    """The smallest change that works, or None; and its size, or the last one tried."""
    import jax

    from fer_jax import evaluate
    from fer_jax.attacks import NORMS

    run = functools.partial(
        evaluate.attacked, logits_fn=predictor.logits_fn, images=image[None], labels=np.array([target]), targeted=True
    )
    eps = 0.0
    if args.method in SMALLEST:
        for factor in GROWN:
            found = run(grown(make_attack(args, eps), factor), key=jax.random.key(args.seed), batch_size=1)
            eps = float(found.norms[args.norm][0]) / 255
            if found.reached_8bit[0]:
                return found, eps
        return None, eps
    for eps in [args.eps] if args.eps is not None else SEARCHED[args.norm]:
        key, norm = jax.random.key(args.seed), NORMS[args.norm]
        found = run(make_attack(args, eps), key=key, norm=norm, eps=eps, batch_size=1)
        if found.reached_8bit[0]:
            return found, eps
    return None, eps


def grown(attack: "Attack", factor: float) -> "Attack":
    """The attack with its change multiplied."""
    return lambda key, logits_fn, images, labels: images + factor * (attack(key, logits_fn, images, labels) - images)


def make_attack(args: argparse.Namespace, eps: float) -> "Attack":
    from fer_jax import attacks

    norm, step_size = attacks.NORMS[args.norm], 2.5 * eps / args.steps
    build = {
        "fgsm": functools.partial(attacks.fgsm, eps=eps),
        "bim": functools.partial(attacks.bim, eps=eps, step_size=step_size, steps=args.steps),
        "mifgsm": functools.partial(attacks.mifgsm, eps=eps, step_size=step_size, steps=args.steps),
        "pgd": functools.partial(
            attacks.pgd, eps=eps, step_size=step_size, steps=args.steps, norm=norm, restarts=args.restarts
        ),
        "apgd": functools.partial(attacks.apgd, eps=eps, steps=args.steps, norm=norm, restarts=args.restarts),
        "autoattack": functools.partial(attacks.autoattack, eps=eps, norm=norm, batch_size=1),
        "cw": functools.partial(attacks.cw, steps=args.steps),
        "deepfool": functools.partial(attacks.deepfool, steps=args.steps, norm=norm),
        "ddn": functools.partial(attacks.ddn, steps=args.steps),
        "fmn": functools.partial(attacks.fmn, steps=args.steps, norm=norm),
    }
    return functools.partial(build[args.method], targeted=True)


def write(folder: Path, subject: Subject, found: "Attacked", predictor: "Predictor", settings: dict) -> None:
    """The pictures and, of the pictures as they lie on the disk, the figures."""
    from fer_jax import metrics, plots

    delta = found.images[0].astype(int) - subject.image
    faces.write_face(folder / "input_image.png", subject.image)
    faces.write_face(folder / "hacked_image.png", found.images[0])
    strongest = max(1, np.abs(delta).max())
    faces.write_face(folder / "perturbation.png", (127.5 + 127.5 * delta / strongest).astype(np.uint8))
    saved = np.stack([faces.read_image(folder / name) for name in ("input_image.png", "hacked_image.png")])
    before, after = predictor(saved)
    with files.replacing(folder / "adversarial_attack.png") as temporary:
        plots.adversarial(saved[0], saved[1], before, after, predictor.emotions).savefig(temporary)
    told = {
        "image": subject.origin,
        **settings,
        "norms": {name: float(sizes[0]) for name, sizes in found.norms.items()},
        "ssim": float(metrics.ssim(saved[:1] / 255, saved[1:] / 255)[0]),
        "before": dict(zip(predictor.emotions, before.tolist(), strict=True)),
        "after": dict(zip(predictor.emotions, after.tolist(), strict=True)),
        "model": {key: predictor.model.metadata.get(key) for key in ("name", "protocol", "git_revision", "best_epoch")},
    }
    with files.replacing(folder / "hack.json") as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n")
    print(describe(told, folder))


def describe(told: dict, folder: Path) -> str:
    norms = told["norms"]
    size = f"{told['norm']} {told['eps'] * 255:.3g}/255" if told["norm"] == "linf" else f"{told['norm']} {told['eps']:.3g}"
    lines = [f"{told['image']}: {told['method']}, {size}", "", f"{'':10}{'before':>8}{'after':>8}"]
    lines += [f"{name:10}{told['before'][name]:>8.1%}{told['after'][name]:>8.1%}" for name in told["before"]]
    lines += [
        "",
        f"changed {norms['l0']:,.0f} of 2,304 pixels by at most {norms['linf']:.0f} of 255 levels "
        f"(L2 {norms['l2']:.1f}, L1 {norms['l1']:,.0f} levels), SSIM {told['ssim']:.4f}",
        f"wrote {folder}/adversarial_attack.png, input_image.png, hacked_image.png, perturbation.png, hack.json",
    ]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("--method", choices=BOUNDED + SMALLEST, default="pgd", help="default: pgd")
    parser.add_argument("--source", default="happy", metavar="EMOTION", help="what the network sees now (default: happy)")
    parser.add_argument("--target", default="sad", metavar="EMOTION", help="what it is to see (default: sad)")
    parser.add_argument("--norm", choices=tuple(SEARCHED), help="of the change (default: what the method is made for)")
    parser.add_argument(
        "--eps", type=cli.parse_eps, help="largest change, of pixels in [0, 1] (default: the smallest that works)"
    )
    parser.add_argument("--steps", type=int, default=40, help="default: 40")
    parser.add_argument("--restarts", type=int, default=1, help="further random starts (pgd, apgd; default: 1)")
    parser.add_argument("--image", type=int, metavar="ROW", help="row of the test set (default: the first that fits)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file (default: the shipped model)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results/hack_cnn, or ROW in it")
    args = parser.parse_args()
    norms = NORMS_OF.get(args.method, ("linf",))
    args.norm = args.norm or norms[0]
    if args.norm not in norms:
        parser.error(f"--method {args.method} is made for {' and '.join(norms)}, not for {args.norm}")
    if args.eps is not None and args.method in SMALLEST:
        parser.error(f"--method {args.method} looks for the smallest change: it takes no --eps")
    if args.steps < 1 or args.restarts < 1:
        parser.error(f"--steps and --restarts must be at least 1, got {args.steps} and {args.restarts}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
