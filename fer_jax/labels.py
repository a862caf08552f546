"""Label sets: what the outputs of a network mean, in the order of a data set's integer labels.

names("fer2013")[3]   # "happy"
"""

from fer_jax.errors import InputError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
NUM_CLASSES = len(EMOTIONS)
# FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041): our seven in our order, so that the
# first seven columns compare directly, then its eighth.
FERPLUS_EMOTIONS = (*EMOTIONS, "contempt")
LABEL_SETS = {"fer2013": EMOTIONS, "ferplus": FERPLUS_EMOTIONS, "mnist": tuple("0123456789")}
# Of the emotions alone: pleasant (1), unpleasant (-1) or neither by itself (0, as a surprise).
VALENCE = (-1, -1, -1, 1, -1, 0, 0, -1)


def names(label_set: str) -> tuple[str, ...]:
    """Return the names in a label set, by its own name: a key of `LABEL_SETS`."""
    if label_set not in LABEL_SETS:
        known = ", ".join(LABEL_SETS)
        raise InputError(f"unknown label set {label_set!r}: expected one of {known}")
    return LABEL_SETS[label_set]


def index(name: str) -> int:
    """Return the FER-2013 label of an emotion's English name, in any case."""
    emotion = name.strip().lower()
    if emotion not in EMOTIONS:
        raise InputError(f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)}")
    return EMOTIONS.index(emotion)
