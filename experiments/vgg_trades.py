"""TRADES (Zhang et al., ICML 2019) within 6/255, with adversarial weight perturbation (Wu et al.,
NeurIPS 2020).

    python scripts/train.py --config experiments/vgg_trades.py

Needs fer2013new.csv (github.com/microsoft/FERPlus) beside the FER-2013 data. Six steps of the
adversary, two passes that are trained on, and as many that perturb the weights: what a step costs
against an ordinary one is measured by benchmarks/robust_step.py. Trained for 40 of the 50 epochs
only, when its time on the device was over; not shipped (results/robust/architecture.txt says what
it reached).
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_trades",
    model={
        "family": "vgg",
        "stages": [[32], [96], [192, 192], [384, 384]],
        "dropout": 0.1,
        "crop": 40,
    },
    epochs=50,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the votes soften the targets
    votes=0.7,  # noisy labels cost a robust network more than they cost others
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="trades", eps=6 / 255, step_size=0.3, steps=6, beta=4.0, awp=0.005),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),
)
