"""Adversarial training of the smoothed classifier (Salman et al., NeurIPS 2019): noise of sigma 0.25, changes within L2 0.5.

    python scripts/train.py --config experiments/vgg_smoothadv.py
    python scripts/certify.py --model runs/vgg_smoothadv/model.pkl

Starts from the shipped network for smoothing. Two steps of the adversary against the mean over two noises: what a step of
training costs against an ordinary one is measured by benchmarks/robust_step.py. Not trained yet.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_smoothadv",
    model={"family": "vgg", "stages": [[32, 32], [96, 96], [256, 256], [512, 512]], "dropout": 0.1, "crop": 40},
    epochs=40,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    init_from="results/robust/smooth.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.15),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="smoothadv", norm="l2", eps=0.5, step_size=1.0, steps=2, sigma=0.25, draws=2),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),  # under a stronger attack and a noise
)
