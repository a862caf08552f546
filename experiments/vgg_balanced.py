"""PGD adversarial training within 5/255, from the network for 6/255: between it and FGSM-RS in clean accuracy.

    python scripts/train.py --config experiments/vgg_balanced.py

Needs fer2013new.csv (github.com/microsoft/FERPlus) beside the FER-2013 data. Two steps of PGD: what a step of training
costs against an ordinary one is measured by benchmarks/robust_step.py. No network of it is shipped yet.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_balanced",
    model={"family": "vgg", "stages": [[32, 32], [96, 96], [256, 256], [512, 512]], "dropout": 0.1, "crop": 40},
    epochs=14,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the votes soften the targets
    votes=0.7,
    init_from="results/robust/robust_model.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.15),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="pgd", eps=5 / 255, step_size=0.625, steps=2),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),
)
