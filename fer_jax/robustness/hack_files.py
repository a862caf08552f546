"""Write and print what a hack did to a face, or to the face in a photograph."""

from pathlib import Path
from typing import Any

import numpy as np

from fer_jax import files, plots
from fer_jax.predict import Predictor


def publish(
    folder: Path,
    crops: np.ndarray,
    probabilities: np.ndarray,
    predictor: Predictor,
    figures: dict[str, Any],
    written: tuple[str, ...],
) -> None:
    """Write adversarial_attack.png and hack.json, and print the figures.

    Args:
        crops: the face before and after, uint8 [2, 48, 48].
        probabilities: what the network sees in them, float32 [2, C].
        figures: of the change: image, method, norm, eps, pixels, norms, ssim, ...; builtins.
        written: the names of all files of this hack in the folder.
    """
    emotions, metadata = predictor.emotions, predictor.model.metadata
    figure = plots.adversarial(crops[0], crops[1], probabilities[0], probabilities[1], emotions)
    plots.save(figure, folder / "adversarial_attack.png")
    before, after = (dict(zip(emotions, each.tolist(), strict=True)) for each in probabilities)
    names = ("name", "protocol", "git_revision", "best_epoch")
    model = {name: metadata.get(name) for name in names}
    report = {**figures, "before": before, "after": after, "model": model}
    files.write_json(folder / "hack.json", report)
    print(describe(report))
    print(f"wrote {folder}/{', '.join(written)}")


def describe(report: dict[str, Any]) -> str:
    """Return hack.json's figures as lines for the terminal."""
    norm, eps, norms = report["norm"], report["eps"], report["norms"]
    size = f"{norm} {eps * 255:.3g}/255" if norm == "linf" else f"{norm} {eps:.3g}"
    lines = [
        f"{report['image']}: {report['method']}, {size}",
        "",
        f"{'':10}{'before':>8}{'after':>8}",
    ]
    for name, before in report["before"].items():
        lines.append(f"{name:10}{before:>8.1%}{report['after'][name]:>8.1%}")
    changed = f"changed {norms['l0']:,.0f} of {report['pixels']:,} pixels"
    levels = f"by at most {norms['linf']:.0f} of 255 levels"
    lengths = f"L2 {norms['l2']:.1f}, L1 {norms['l1']:,.0f} levels"
    lines += ["", f"{changed} {levels} ({lengths}), SSIM {report['ssim']:.4f}"]
    if "universal" in report:
        lines.append(describe_universal(report["universal"]))
    return "\n".join(lines)


def describe_universal(figures: dict[str, Any]) -> str:
    """Return in words what a universal perturbation was fitted to, and on how many it works."""
    text = f"the same for all images: fitted to {figures['fitted_to']}"
    if not figures["held_out"]:
        return f"{text}, and tried on no others"
    interval = f"95% interval {figures['low']:.1%} to {figures['high']:.1%}"
    images = f"{figures['held_out']} test images of which the network is sure"
    return f"{text}, works on {figures['worked']} of {images}, {figures['rate']:.1%} ({interval})"
