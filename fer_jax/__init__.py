"""Facial-expression recognition and adversarial robustness in JAX/Flax, trained on FER-2013.

probabilities = fer_jax.Predictor()(faces)   # uint8 [N,48,48] -> float32 [N,7]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_jax.predict import Predictor, load_model

__version__ = "0.1.0"
__all__ = ["Predictor", "load_model"]


def __getattr__(name: str) -> Any:
    """Import lazily: `fer_jax.runtime.configure()` must be able to run before jax is imported."""
    if name in __all__:
        from fer_jax import predict

        return getattr(predict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
