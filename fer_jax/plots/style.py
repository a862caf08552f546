"""Colours, marks and helpers that all figures share, and how a figure is saved."""

from pathlib import Path

from matplotlib.figure import Figure

from fer_jax import files


def save(figure: Figure, path: Path) -> None:
    """Write a figure to `path`, whole or not at all, in the format that its suffix names."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary)
