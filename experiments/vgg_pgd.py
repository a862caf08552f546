"""PGD adversarial training (Madry et al., ICLR 2018) within 8/255, with adversarial weight perturbation.

    python scripts/train.py --config experiments/vgg_pgd.py

Starts from the FGSM-RS network. Five steps of PGD and the pass that perturbs the weights: what a step costs against an
ordinary one is measured by benchmarks/robust_step.py. Not trained yet.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_pgd",
    model={"family": "vgg", "stages": [[32], [64], [128, 128], [256, 256]], "dropout": 0.0, "crop": 40},
    epochs=10,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.1,
    init_from="results/robust/fgsm_rs.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.15),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="pgd", eps=8 / 255, step_size=0.4, steps=5, awp=0.005),  # Wu et al.'s gamma
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=10),
)
