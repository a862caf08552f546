"""Change a face so that nobody sees it and the network says something else: Happy becomes Sad."""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_jax import cli, faces, files, runtime
from fer_jax.errors import InputError

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Fer2013
    from fer_jax.evaluation.attacked import Attacked
    from fer_jax.predict import Predictor
    from fer_jax.robustness.hack import Hack, Settings
    from fer_jax.robustness.photo import Look

RESULTS = Path(__file__).resolve().parents[1] / "results"
SHIPPED = RESULTS / "preprocessing_test"
Pair = tuple[np.ndarray, np.ndarray]  # before and after
SURE = 0.9  # the probability that the image to be hacked must have
LARGEST = {"linf": 1.0, "l2": 48.0}  # from the black to the white image
STEPS = 40
# images that a universal perturbation is fitted to, and on which it is reported
FITTED, HELD_OUT = 2000, 500
FILES = (
    "adversarial_attack.png",
    "input_image.png",
    "hacked_image.png",
    "perturbation.png",
    "hack.json",
)
PHOTO_FILES = ("hacked_photo.png", "adversarial_attack.png", "hack.json")
EPILOG = """examples:
  python scripts/hack_the_cnn.py --method pgd
  python scripts/hack_the_cnn.py --method apgd --norm l2 --eps 0.4 --image 5
  python scripts/hack_the_cnn.py --method universal --eps 8/255
  python scripts/hack_the_cnn.py --photo holiday.jpg --out hacked --detector yunet

fgsm, bim, pgd, mifgsm, apgd, square and autoattack stay within --eps; without it the smallest that works is searched. cw,
deepfool, ddn and fmn look for the smallest change, which is then grown until it survives the rounding to 8 bits. universal is one
change for all images: fitted to training images of the source class, it is added to the chosen test image, and to up to
500 others of which the network is sure.

With FER-2013 in the data folder the image is a test image (--image ROW), else a face cut from the clip that comes with the
code. --photo changes a photograph at its full size, so that the largest face in the saved file is seen as the target,
whatever it is seen as now. Exit code 1: no change was found.
"""


class Subject(NamedTuple):
    """An image to be hacked: uint8 [48, 48], where it comes from, and the folder for what becomes
    of it.
    """

    image: np.ndarray
    origin: str
    folder: Path


def main() -> int:
    args = parse_arguments()
    runtime.configure()
    from fer_jax.predict import Predictor

    predictor = Predictor(args.model)
    target = class_of(args.target, predictor)
    if args.photo:
        return hack_photo(predictor, target, args)
    source = class_of(args.source, predictor)
    if source == target:
        raise InputError(f"--source and --target must differ, both are {args.source}")
    fer = load_data(args)
    subject = choose(predictor, source, fer, args) if fer else choose_shipped(predictor, source)
    hack, fitted = find(predictor, subject.image, source, target, fer, args)
    settings = {"method": args.method, "norm": args.norm, "eps": hack.eps, "steps": args.steps}
    if fitted:
        settings["universal"] = {
            "fitted_to": fitted,
            **held_out(hack, predictor, source, target, fer, args),
        }
    if not hack.worked:
        up_to = f"up to {args.norm} {hack.eps:.3g}"
        print(
            f"{args.method} found no change of {subject.origin} {up_to} that makes it {args.target}"
        )
        if fitted:
            print(describe_universal(settings["universal"]))
        return 1
    write(args.out or subject.folder, subject, hack.found, predictor, settings)
    return 0


def class_of(name: str, predictor: "Predictor") -> int:
    emotions = predictor.emotions
    if name.strip().lower() not in emotions:
        raise InputError(f"unknown emotion {name!r}: the network tells {', '.join(emotions)} apart")
    return emotions.index(name.strip().lower())


def load_data(args: argparse.Namespace) -> "Fer2013 | None":
    """FER-2013, or None where nobody asked for it and there is none; damaged or incomplete data are
    no such case.
    """
    from fer_jax import data

    try:
        return data.load(args.data)
    except InputError:
        asked = args.image is not None or args.data != Path("data")
        if asked or data.any_in(args.data):
            raise
        print(f"note: {args.data} holds no FER-2013: hacking a shipped face", file=sys.stderr)
        return None


def choose(
    predictor: "Predictor", source: int, fer: "Fer2013", args: argparse.Namespace
) -> Subject:
    """The test image asked for, else the first of the source class that the network is sure of."""
    test, emotions = fer.test, predictor.emotions
    rows = np.flatnonzero(test.labels == source) if args.image is None else np.array([args.image])
    if not len(rows):
        raise InputError(f"the test set holds no image that is labelled {args.source}")
    if not 0 <= rows.min() <= rows.max() < len(test.labels):
        raise InputError(
            f"--image must be a row of the test set, 0 to {len(test.labels) - 1}, received {args.image}"
        )
    if (test.labels[rows] != source).any():
        raise InputError(
            f"--image {args.image} is labelled {emotions[test.labels[args.image]]}, not {args.source}"
        )
    probabilities = predictor(test.images[rows], progress=True)
    first = int((probabilities[:, source] > SURE).argmax())
    where = "the test set" if args.image is None else f"test image {args.image}"
    check_sure(probabilities[first, source], emotions[source], where)
    row = int(rows[first])
    return Subject(test.images[row], f"test row {row}", RESULTS / "hack_cnn" / str(row))


def shipped_faces() -> tuple[list[Path], np.ndarray]:
    paths = sorted(
        SHIPPED.glob("image*.png"), key=lambda path: int(path.stem.removeprefix("image"))
    )
    return paths, np.stack([faces.read_image(path) for path in paths])


def choose_shipped(predictor: "Predictor", source: int) -> Subject:
    paths, images = shipped_faces()
    probabilities = predictor(images)
    row = int(probabilities[:, source].argmax())
    check_sure(
        probabilities[row, source], predictor.emotions[source], f"the shipped faces in {SHIPPED}"
    )
    return Subject(images[row], paths[row].name, RESULTS / "hack_cnn")


def check_sure(probability: float, emotion: str, where: str) -> None:
    if probability <= SURE:
        raise InputError(
            f"{where}: the network must say {emotion} with more than {SURE:.0%}, it says {probability:.1%}"
        )


def faces_to_fit(
    predictor: "Predictor", source: int, fer: "Fer2013 | None", seed: int
) -> tuple[np.ndarray, str]:
    """Images uint8 [N, 48, 48] that a universal perturbation is fitted to, and in words which they
    are.
    """
    emotion = predictor.emotions[source]
    if fer is None:
        _, images = shipped_faces()
        images = images[predictor(images).argmax(axis=1) == source]
        return images, f"{len(images)} shipped faces that the network calls {emotion}"
    rows = np.flatnonzero(fer.train.labels == source)
    if not len(rows):
        raise InputError(f"the training set holds no image that is labelled {emotion}")
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:FITTED])
    return fer.train.images[rows], f"{len(rows):,} training images labelled {emotion}"


def find(
    predictor: "Predictor",
    image: np.ndarray,
    source: int,
    target: int,
    fer: "Fer2013 | None",
    args: argparse.Namespace,
) -> "tuple[Hack, str]":
    """The smallest change that works, or the last one tried; and in words what a universal one was
    fitted to, else "".
    """
    from fer_jax.robustness import hack

    settings, attack_at, fitted = settings_of(args), None, ""
    if args.method == "universal":
        to_fit, fitted = faces_to_fit(predictor, source, fer, args.seed)
        attack_at = functools.partial(hack.universal, settings, predictor.logits_fn, to_fit, target)
    return hack.smallest(settings, predictor.logits_fn, image, target, attack_at), fitted


def settings_of(args: argparse.Namespace) -> "Settings":
    from fer_jax.robustness.hack import Settings

    return Settings(args.method, args.norm, args.steps, args.eps, args.restarts, args.seed)


def held_out(
    hack: "Hack",
    predictor: "Predictor",
    source: int,
    target: int,
    fer: "Fer2013 | None",
    args: argparse.Namespace,
) -> dict:
    """How often a universal perturbation works, after rounding to 8 bits, on test images that the
    network is sure of.
    """
    import jax

    from fer_jax.attacks import NORMS
    from fer_jax.evaluation import metrics
    from fer_jax.evaluation.attacked import attacked

    if fer is None:
        return {"held_out": 0}
    images = fer.test.images[fer.test.labels == source]
    images = images[predictor(images, progress=True)[:, source] > SURE]
    images = np.random.default_rng(args.seed).permutation(images)[:HELD_OUT]
    options = {
        "key": jax.random.key(args.seed),
        "norm": NORMS[args.norm],
        "eps": hack.eps,
        "targeted": True,
    }
    labels = np.full(len(images), target)
    worked = int(
        attacked(hack.attack, predictor.logits_fn, images, labels, **options).reached_8bit.sum()
    )
    low, high = metrics.wilson(worked, len(images))
    return {
        "held_out": len(images),
        "worked": worked,
        "rate": worked / len(images),
        "low": low,
        "high": high,
    }


def hack_photo(predictor: "Predictor", target: int, args: argparse.Namespace) -> int:
    """Hack the photograph of --photo by the smallest eps that works; the exit code."""
    import jax

    from fer_jax.robustness import hack, photo

    # never photo/, which git keeps
    folder = args.out or RESULTS / "hack_cnn" / f"photo_{args.photo.stem}"
    if args.photo.resolve() in [(folder / name).resolve() for name in PHOTO_FILES]:
        raise InputError(
            f"{args.photo}: would be replaced by what --out {folder} is to hold; give another folder"
        )
    image = faces.read_image(args.photo, full_size=True)
    detector = faces.detector(args.detector, args.detector_model)
    clean = photo.look(image, predictor, detector)
    if clean is None:
        raise InputError(
            f"{args.photo}: the photograph must show a face, but {detector.name} finds none"
        )
    now = describe_verdict(clean.probabilities, predictor.emotions)
    if clean.probabilities.argmax() == target:
        raise InputError(
            f"{args.photo}: the network must not say {args.target} already, it says {now}"
        )
    levels = [args.eps] if args.eps is not None else hack.LEVELS["linf"]
    for eps in levels:
        key = jax.random.key(args.seed)
        hacked = photo.hack(
            image, predictor, detector, target, hack.make_attack(settings_of(args), eps), eps, key
        )
        if hacked is not None:
            photo.write(folder / "hacked_photo.png", hacked)
            seen = photo.look(faces.read_image(folder / "hacked_photo.png"), predictor, detector)
            assert seen is not None and seen.probabilities.argmax() == target, "PNG is lossless"
            settings = {
                "method": args.method,
                "norm": "linf",
                "eps": eps,
                "steps": args.steps,
                "detector": detector.name,
            }
            write_photo(folder, args.photo, clean, seen, predictor, settings)
            return 0
    print(
        f"{args.photo}: {now}; {args.method} found no change up to linf {levels[-1]:.3g} that makes it {args.target}"
    )
    return 1


def describe_verdict(probabilities: np.ndarray, emotions: tuple[str, ...]) -> str:
    return f"{emotions[probabilities.argmax()]} ({probabilities.max():.1%})"


def write_photo(
    folder: Path, path: Path, clean: "Look", seen: "Look", predictor: "Predictor", settings: dict
) -> None:
    """The picture of the hack and, of the photographs as they lie on the disk, the figures."""
    from fer_jax.evaluation import metrics
    from fer_jax.robustness import photo

    image, hacked = faces.read_image(path), faces.read_image(folder / "hacked_photo.png")
    delta = hacked.astype(int) - image
    rows, columns = np.nonzero(delta.reshape(*image.shape[:2], -1).any(axis=2))
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    grey, hacked_grey = (photo.grey_levels(each[part])[None] / 255 for each in (image, hacked))
    # both from the same box: else what differs is mostly the move
    cut = faces.crop(image, seen.box)
    told = {
        "image": path.name,
        **settings,
        "pixels": image.shape[0] * image.shape[1],
        "norms": {
            "l0": len(rows),
            "l1": float(np.abs(delta).sum()),
            "l2": float(np.linalg.norm(delta)),
            "linf": int(np.abs(delta).max()),
        },
        "ssim": float(metrics.ssim(grey, hacked_grey)[0]),  # of the part that was changed
        "boxes": {"before": list(clean.box), "after": list(seen.box)},
    }
    draw_and_tell(
        folder, (cut, seen.face), (clean.probabilities, seen.probabilities), predictor, told
    )
    print(describe(told, folder, PHOTO_FILES))


def write(
    folder: Path, subject: Subject, found: "Attacked", predictor: "Predictor", settings: dict
) -> None:
    """The pictures and, of the pictures as they lie on the disk, the figures."""
    from fer_jax.evaluation import metrics

    delta = found.images[0].astype(int) - subject.image
    faces.write_face(folder / "input_image.png", subject.image)
    faces.write_face(folder / "hacked_image.png", found.images[0])
    strongest = max(1, np.abs(delta).max())
    faces.write_face(
        folder / "perturbation.png", (127.5 + 127.5 * delta / strongest).astype(np.uint8)
    )
    saved = np.stack(
        [faces.read_image(folder / name) for name in ("input_image.png", "hacked_image.png")]
    )
    before, after = predictor(saved)
    told = {
        "image": subject.origin,
        **settings,
        "pixels": subject.image.size,
        "norms": {name: float(sizes[0]) for name, sizes in found.norms.items()},
        "ssim": float(metrics.ssim(saved[:1] / 255, saved[1:] / 255)[0]),
    }
    draw_and_tell(folder, (saved[0], saved[1]), (before, after), predictor, told)
    print(describe(told, folder, FILES))


def draw_and_tell(
    folder: Path, pair: Pair, probabilities: Pair, predictor: "Predictor", told: dict
) -> None:
    """adversarial_attack.png and hack.json, of two faces and what the network says of them; adds
    that to `told`.
    """
    from fer_jax import plots

    with files.replacing(folder / "adversarial_attack.png") as temporary:
        plots.adversarial(*pair, *probabilities, predictor.emotions).savefig(temporary)
    for name, values in zip(("before", "after"), probabilities, strict=True):
        told[name] = dict(zip(predictor.emotions, values.tolist(), strict=True))
    told["model"] = {
        key: predictor.model.metadata.get(key)
        for key in ("name", "protocol", "git_revision", "best_epoch")
    }
    with files.replacing(folder / "hack.json") as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n")


def describe(told: dict, folder: Path, written: tuple[str, ...]) -> str:
    norms = told["norms"]
    size = (
        f"{told['norm']} {told['eps'] * 255:.3g}/255"
        if told["norm"] == "linf"
        else f"{told['norm']} {told['eps']:.3g}"
    )
    lines = [f"{told['image']}: {told['method']}, {size}", "", f"{'':10}{'before':>8}{'after':>8}"]
    lines += [
        f"{name:10}{told['before'][name]:>8.1%}{told['after'][name]:>8.1%}"
        for name in told["before"]
    ]
    lines += [
        "",
        f"changed {norms['l0']:,.0f} of {told['pixels']:,} pixels by at most {norms['linf']:.0f} of 255 levels "
        f"(L2 {norms['l2']:.1f}, L1 {norms['l1']:,.0f} levels), SSIM {told['ssim']:.4f}",
        *([describe_universal(told["universal"])] if "universal" in told else []),
        f"wrote {folder}/{', '.join(written)}",
    ]
    return "\n".join(lines)


def describe_universal(told: dict) -> str:
    if not told["held_out"]:
        return f"the same for all images: fitted to {told['fitted_to']}, and tried on no others"
    interval = f"95% interval {told['low']:.1%} to {told['high']:.1%}"
    rate = f"{told['worked']} of {told['held_out']} test images of which the network is sure, {told['rate']:.1%} ({interval})"
    return f"the same for all images: fitted to {told['fitted_to']}, works on {rate}"


def parse_arguments() -> argparse.Namespace:
    from fer_jax.attacks.registry import ATTACKS

    methods = [name for name, entry in ATTACKS.items() if entry.has_targets]
    steps = [f"{name}: {ATTACKS[name].steps}" for name in methods if ATTACKS[name].steps]
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("--method", choices=methods, default="pgd", help="default: pgd")
    parser.add_argument(
        "--source",
        default="happy",
        metavar="EMOTION",
        help="what the network sees now (default: happy)",
    )
    parser.add_argument(
        "--target", default="sad", metavar="EMOTION", help="what it is to see (default: sad)"
    )
    parser.add_argument(
        "--norm",
        choices=tuple(LARGEST),
        help="of the change (default: what the method is made for)",
    )
    parser.add_argument(
        "--eps",
        type=cli.parse_eps,
        help="largest change, of pixels in [0, 1] (default: the smallest that works)",
    )
    parser.add_argument(
        "--photo", type=Path, metavar="FILE", help="hack this photograph instead, at its full size"
    )
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}; {', '.join(steps)}")
    parser.add_argument(
        "--restarts", type=int, default=1, help="further random starts (pgd, apgd; default: 1)"
    )
    parser.add_argument(
        "--image",
        type=int,
        metavar="ROW",
        help="row of the test set (default: the first that fits)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="default: results/hack_cnn, or ROW or photo_NAME in it",
    )
    faces.add_detector(parser)
    args = parser.parse_args()
    method = ATTACKS[args.method]
    if args.steps is None:
        args.steps = method.steps or STEPS
    args.norm = args.norm or method.norms[0]
    if args.norm not in method.norms:
        parser.error(
            f"--method {args.method} is made for {' and '.join(method.norms)}, not for {args.norm}"
        )
    if args.eps is not None and not method.bounded:
        parser.error(f"--method {args.method} looks for the smallest change: it takes no --eps")
    if args.eps is not None and args.eps > LARGEST[args.norm]:
        parser.error(
            f"--eps must be at most {LARGEST[args.norm]:g} in {args.norm}: pixels lie in [0, 1], got {args.eps:g}"
        )
    if args.photo and (not method.any_shape or args.norm != "linf" or args.image is not None):
        fitting = ", ".join(name for name in methods if ATTACKS[name].any_shape)
        parser.error(f"--photo goes with --method {fitting} and linf, and without --image")
    if args.steps < 1 or args.restarts < 1:
        parser.error(
            f"--steps and --restarts must be at least 1, got {args.steps} and {args.restarts}"
        )
    if args.method == "fgsm" and args.steps > 1:
        parser.error(f"--method fgsm makes one step, got --steps {args.steps}")
    if not 0 <= args.seed < 1 << 32:
        parser.error(f"--seed must lie in 0 to {(1 << 32) - 1}, got {args.seed}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
