"""PGD adversarial training within 5/255, taught by an ordinary network: robust, and of the robust
ones the most accurate.

    python scripts/train.py --config experiments/vgg_balanced.py

The teacher is the network of experiments/vgg_distilled.py that lies in results; four fifths of the
targets are what it says of the images before the adversary changes them. Three steps of PGD: what a
step of training costs against an ordinary one is measured by benchmarks/robust_step.py, both
without the teacher's pass. One H100 that other jobs shared: 60 epochs in 9 minutes. Shipped as
results/robust/robust_model.pkl; its figures are in results/robustness/table.md.
"""

from dataclasses import replace
from pathlib import Path

from fer_jax.config import Adversary, Augment, EarlyStopping, load

vgg = load(Path(__file__).with_name("vgg.py"))
config = replace(
    vgg,
    name="vgg_balanced",
    model={**vgg.model, "dropout": 0.1},
    epochs=60,
    label_smoothing=0.0,  # the teacher's probabilities are soft enough
    self_distillation=0.0,
    teachers=("results/model/runs/vgg_distilled/model.pkl",),
    teaching=0.8,
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="pgd", eps=5 / 255, step_size=0.5, steps=3),
    early_stopping=EarlyStopping(monitor="last", patience=20),
)
