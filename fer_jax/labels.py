"""The seven FER-2013 emotions, in the order of the data set's integer labels.

>>> EMOTIONS[3]
'happy'
>>> index("Sad")
4
"""

from fer_jax.errors import InputError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
NUM_CLASSES = len(EMOTIONS)
# FER+ (Barsoum et al. 2016): our seven in our order, so that the first seven columns compare
# directly, then its eighth
FERPLUS_EMOTIONS = (*EMOTIONS, "contempt")
# Whether each of these is pleasant (1), unpleasant (-1) or neither by itself (0); a surprise may be
# either.
VALENCE = (-1, -1, -1, 1, -1, 0, 0, -1)


def index(name: str) -> int:
    """The label of an emotion's English name, in any case.

    Raises:
        InputError: the name is not one of the seven.
    """
    try:
        return EMOTIONS.index(name.strip().lower())
    except ValueError:
        raise InputError(
            f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)}"
        ) from None


def names(classes: int) -> tuple[str, ...]:
    """What the outputs of a network with so many classes mean: FER-2013's seven emotions or FER+'s
    eight.

    Raises:
        InputError: another number of classes.
    """
    for emotions in (EMOTIONS, FERPLUS_EMOTIONS):
        if len(emotions) == classes:
            return emotions
    raise InputError(
        f"classes must be {len(EMOTIONS)} (FER-2013) or {len(FERPLUS_EMOTIONS)} (FER+), received {classes!r}"
    )
