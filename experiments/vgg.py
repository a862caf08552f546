"""The deliverable: a small VGG from scratch under the train-only protocol."""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg",
    model={"family": "vgg", "stages": [[32, 32], [96, 96], [192, 192], [384, 384]], "dropout": 0.2},
    epochs=20,
    batch_size=128,
    resolutions=((0.0, 32), (0.65, 40), (0.85, 48)),
    optimizer=Optimizer(learning_rate=0.1),
    augment=Augment(rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.1),
    early_stopping=EarlyStopping(patience=10),
)
