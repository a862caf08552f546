"""PGD adversarial training within 5/255, taught by an ordinary network: robust, and of the robust
ones the most accurate.

    python scripts/train.py --config experiments/vgg_balanced.py

The teacher is the network of experiments/vgg_distilled.py that lies in results; four fifths of the
targets are what it says of the images before the adversary changes them. Three steps of PGD: what a
step of training costs against an ordinary one is measured by benchmarks/robust_step.py, both
without the teacher's pass. One H100 that other jobs shared: 60 epochs in 9 minutes. Shipped as
results/robust/robust_model.pkl; its figures are in results/robustness/table.md.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_balanced",
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
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="pgd", eps=5 / 255, step_size=0.5, steps=3),
    early_stopping=EarlyStopping(monitor="last", patience=20),
)
