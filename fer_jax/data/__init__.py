"""FER-2013: from the files in a folder to what is trained on, selected on and reported.

data = load(Path("data"))
split = protocol(data, "train-only")
split.train.images.shape  # (25837, 48, 48)

`sources.find` takes the first of the readers in `sources.READERS` that finds its files in a folder.
A `fer2013.Reader` gives a `fer2013.Source`, whose `read()` gives a `Fer2013`: three splits of 48x48
grey images with labels. A new layout, or a new data set with the same seven emotions, is one file
like `npz.py` and one entry in that list.
"""

from fer_jax.data.assembly import Digest, training_data
from fer_jax.data.fer2013 import DataWarning, Fer2013, Split
from fer_jax.data.prepare import load
from fer_jax.data.protocols import Protocol, protocol, reported_by, sample, seen_in_training
from fer_jax.data.sources import any_in

__all__ = ["DataWarning", "Digest", "Fer2013", "Protocol", "Split", "any_in", "load", "protocol"]
__all__ += ["reported_by", "sample", "seen_in_training", "training_data"]
