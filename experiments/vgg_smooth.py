"""A network for randomised smoothing (Cohen et al., ICML 2019): trained on images with Gaussian
noise of sigma 0.25.

    python scripts/train.py --config experiments/vgg_smooth.py
    python scripts/certify.py --model runs/vgg_smooth/model.pkl

A step costs what an ordinary one does. One H200 that three other trainings shared: 70 epochs in 2
minutes. It was results/robust/smooth.pkl up to revision 6fde243 and certified 38 and 21 % at L2
0.25 and 0.5: vgg_smoothadv.py does better.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_smooth",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.1,
        "crop": 40,
    },
    epochs=70,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="noise", sigma=0.25),
    # accuracy under one draw of the noise
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),
)
