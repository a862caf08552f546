"""PGD adversarial training (Madry et al., ICLR 2018) within 6/255.

    python scripts/train.py --config experiments/vgg_pgd.py

From random weights, on the deliverable's network. Three steps of PGD: what a step of training costs
against an ordinary one is measured by benchmarks/robust_step.py. One H200 that three other
trainings shared: 40 epochs in 2 minutes. Its network was shipped before that of vgg_balanced.py;
results/robust/architecture.txt has its figures.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_pgd",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.1,
        "crop": 40,
    },
    epochs=40,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,  # soft labels delay robust overfitting (Chen et al., ICLR 2021)
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="pgd", eps=6 / 255, step_size=0.5, steps=3),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),
)
