"""TRADES (Zhang et al., ICML 2019) within 4/255: robustness bought with as little clean accuracy as possible.

    python scripts/train.py --config experiments/vgg_trades.py

Starts from the FGSM-RS network. Four steps of the adversary and two passes that are trained on: what a step costs against
an ordinary one is measured by benchmarks/robust_step.py. Not trained yet.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_trades",
    model={"family": "vgg", "stages": [[32], [64], [128, 128], [256, 256]], "dropout": 0.0, "crop": 40},
    epochs=10,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the divergence pulls towards soft targets already
    init_from="results/robust/fgsm_rs.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.15),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="trades", eps=4 / 255, step_size=0.5, steps=4, beta=4.0),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=10),
)
