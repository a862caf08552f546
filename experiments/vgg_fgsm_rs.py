"""FGSM from a random start (Wong et al., ICLR 2020): robust within 4/255 at less than twice the
cost of ordinary training.

    python scripts/train.py --config experiments/vgg_fgsm_rs.py

Needs fer2013new.csv (github.com/microsoft/FERPlus) beside the FER-2013 data. On a network of half
the deliverable's arithmetic: what is robust is attacked for hours. A step costs one more forward
pass and a backward pass to the pixels. One H200 that eight other trainings shared: 50 epochs in 3
minutes. Shipped as results/robust/fgsm_rs.pkl; its figures are in results/robustness/table.md.
"""

from dataclasses import replace
from pathlib import Path

from fer_jax.config import Adversary, EarlyStopping, load

vgg_balanced = load(Path(__file__).with_name("vgg_balanced.py"))
config = replace(
    vgg_balanced,
    name="vgg_fgsm_rs",
    model={**vgg_balanced.model, "stages": [[32], [96], [192, 192], [384, 384]]},
    epochs=50,
    votes=0.7,  # noisy labels cost a robust network more than they cost others
    teachers=(),
    teaching=0.0,
    # Wong et al.'s step; larger ones overfit
    adversary=Adversary(method="fgsm", eps=4 / 255, step_size=1.25),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),
)
