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

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_smoothadv",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.1,
        "crop": 40,
    },
    epochs=60,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the teacher's probabilities are soft enough
    teachers=("results/model/runs/vgg_distilled/model.pkl",),
    teaching=0.8,
    init_from="results/robust/robust_model.pkl",
    optimizer=Optimizer(learning_rate=0.08, warmup=0.15),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(
        method="smoothadv",
        norm="l2",
        eps=0.5,
        step_size=0.7,
        steps=2,
        sigma=0.2,
        draws=1,
        awp=0.003,
    ),
    early_stopping=EarlyStopping(monitor="last", patience=20),
)
