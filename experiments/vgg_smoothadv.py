"""Adversarial training of the smoothed classifier (Salman et al., NeurIPS 2019): noise of sigma
0.2, changes within L2 0.5.

    python scripts/train.py --config experiments/vgg_smoothadv.py
    python scripts/certify.py --model runs/vgg_smoothadv/model.pkl

Starts from the shipped robust network, with the same teacher. Two steps of the adversary against
one noise, the one that is trained on, and adversarial weight perturbation: what a step of training
costs against an ordinary one is measured by benchmarks/robust_step.py, both without the teacher's
pass. One H200 that another training and some attacks shared: 60 epochs in 144 seconds. Shipped as
results/robust/smooth.pkl; its figures are in results/robustness/table.md, its certificates in
results/robustness/certified.
"""

from dataclasses import replace
from pathlib import Path

from fer_jax.config import Adversary, load

vgg_balanced = load(Path(__file__).with_name("vgg_balanced.py"))
smoothed = Adversary("smoothadv", "l2", eps=0.5, step_size=0.7, steps=2, sigma=0.2, awp=0.003)
config = replace(
    vgg_balanced,
    name="vgg_smoothadv",
    init_from="results/robust/robust_model.pkl",
    optimizer=replace(vgg_balanced.optimizer, learning_rate=0.08, warmup=0.15),
    adversary=smoothed,
)
