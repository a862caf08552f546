"""The seven FER-2013 emotions, in the order of the data set's integer labels.

>>> EMOTIONS[3]
'happy'
>>> index("Sad")
4
"""

from fer_jax.errors import InputError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
NUM_CLASSES = len(EMOTIONS)


def index(name: str) -> int:
    """The label of an emotion's English name, in any case.

    Raises:
        InputError: the name is not one of the seven.
    """
    try:
        return EMOTIONS.index(name.strip().lower())
    except ValueError:
        raise InputError(f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)}") from None
