"""A network for randomised smoothing (Cohen et al., ICML 2019): trained on images with Gaussian noise of sigma 0.25.

    python scripts/train.py --config experiments/vgg_smooth.py
    python scripts/certify.py --model runs/vgg_smooth/model.pkl

Needs fer2013new.csv (github.com/microsoft/FERPlus) beside the FER-2013 data. A step costs what an ordinary one does.
"""

from fer_jax.config import Adversary, Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_smooth",
    model={"family": "vgg", "stages": [[32], [96], [192, 192], [384, 384]], "dropout": 0.1, "crop": 40},
    epochs=80,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the votes soften the targets
    votes=0.7,  # noisy labels cost a robust network more than they cost others
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.0),
    adversary=Adversary(method="noise", sigma=0.25),
    early_stopping=EarlyStopping(monitor="robust_accuracy", patience=20),  # accuracy under one draw of the noise
)
