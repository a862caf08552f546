"""Does it run? A tiny network for two epochs: under a minute on two cores, accuracy of no interest.

python scripts/train.py --config experiments/smoke.py
"""

from fer_jax.config import Config, Optimizer

config = Config(
    name="smoke",
    model={"family": "vgg", "stages": [[8], [16], [32]], "dropout": 0.0},
    epochs=2,
    batch_size=256,
    resolutions=((0.0, 32),),
    ema=0.95,  # two epochs are 200 steps: a longer average would still hold the random start
    optimizer=Optimizer(learning_rate=0.05),
)
