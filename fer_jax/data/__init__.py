"""FER-2013: from what lies in a folder to arrays, and from arrays to what is trained on, selected
on and reported.

data = load(Path("data"))
split = protocol(data, "train-only")
split.train.images.shape  # (25837, 48, 48)
"""

from fer_jax.data.assembly import Digest, training_data
from fer_jax.data.prepare import load
from fer_jax.data.protocols import Protocol, protocol, reported_by, sample, seen_in_training
from fer_jax.data.sources import DataWarning, Fer2013, Split, any_in

__all__ = [
    "DataWarning",
    "Digest",
    "Fer2013",
    "Protocol",
    "Split",
    "any_in",
    "load",
    "protocol",
    "reported_by",
    "sample",
    "seen_in_training",
    "training_data",
]
