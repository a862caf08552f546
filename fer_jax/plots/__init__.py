"""Figures: data in, matplotlib `Figure` out; no plot saves, shows or touches pyplot's global state.

figure = learning_curves(pandas.read_csv("history.csv"), best_epoch=41)
save(figure, Path("learning_curves.png"))
"""

from fer_jax.plots.robustness import (
    accuracy_over_eps,
    adversarial,
    certified_accuracy,
    corruption_accuracy,
    explanations,
    robust_accuracy,
)
from fer_jax.plots.style import ENDINGS, save
from fer_jax.plots.training import (
    compared_runs,
    confusion_matrix,
    contact_sheet,
    learning_curves,
    reliability_diagram,
)
from fer_jax.plots.video import EMOTION_COLOURS, Moment, emotion_timeline, predictions
