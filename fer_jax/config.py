"""The settings of a training run: frozen dataclasses that a plain Python file fills in.

config = load("experiments/vgg.py", ["epochs=5", "optimizer.learning_rate=0.05"])
"""

import ast
import dataclasses
import itertools
import math
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fer_jax.errors import InputError


def within(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """Return a field whose values must be finite and lie in [low, high]."""
    return field(default=default, metadata={"within": (low, high)})


@dataclass(frozen=True)
class Optimizer:
    """SGD with Nesterov momentum and L2 weight decay on the kernels."""

    learning_rate: float = within(1e-8, 100, 0.1)  # its peak, for batches of `batch_size`
    schedule: Literal["one-cycle", "plateau"] = "one-cycle"
    warmup: float = within(0, 0.99, 0.25)  # one-cycle: share of the run in which it rises
    momentum: float = within(0, 0.9999, 0.9)
    weight_decay: float = within(0, 1, 5e-4)
    plateau_factor: float = within(1e-3, 0.999, 0.75)  # plateau: the rate is multiplied by this ...
    plateau_patience: int = within(1, 10_000, 5)  # ... after so many epochs without a lower loss


@dataclass(frozen=True)
class Augment:
    """How far an image is moved at random; 0 everywhere leaves it as it is."""

    flip: bool = True
    shift: float = within(0, 0.5, 0.1)  # of the side, each axis, uniform in +-shift
    scale: float = within(0, 0.9, 0.1)  # zoom factor uniform in 1 +- scale
    rotate: float = within(0, 180, 10.0)  # degrees, uniform in +-rotate
    contrast: float = within(0, 1, 0.2)  # factor uniform in 1 +- contrast about the image's mean
    brightness: float = within(0, 1, 0.1)  # added, uniform in +-brightness of the full range
    erase: float = within(0, 1, 0.2)  # probability that a rectangle (2-20 % of it) becomes noise
    mixup: float = within(0, 100, 0.0)  # alpha of Zhang et al. 2018; 0 is off
    cutmix: float = within(0, 1, 0.0)  # probability that a rectangle is another image's


@dataclass(frozen=True)
class Adversary:
    """Who changes the training images before the network sees them; see `training.losses`."""

    method: Literal["none", "fgsm", "pgd", "trades", "noise", "smoothadv"] = "none"
    norm: Literal["linf", "l2"] = "linf"
    eps: float = within(0, 1, 4 / 255)  # largest change, in pixel units of [0, 1]
    step_size: float = within(0, 10, 1.0)  # as a share of eps
    steps: int = within(1, 1_000, 1)
    beta: float = within(0, 1_000, 6.0)  # trades: weight of the divergence
    awp: float = within(0, 1, 0.0)  # weight perturbation, as a share of each kernel's length
    sigma: float = within(0, 10, 0.25)  # noise and smoothadv: standard deviation in pixel units
    draws: int = within(1, 1_000, 1)  # smoothadv: noises over which answers are averaged


@dataclass(frozen=True)
class EarlyStopping:
    """When a run ends before its last epoch; it delivers the best epoch's weights in any case."""

    # of the hold-out; "last" keeps the last epoch, as a small hold-out chooses by luck
    monitor: Literal["accuracy", "loss", "robust_accuracy", "last"] = "accuracy"
    min_delta: float = within(0, 100, 0.0)  # an epoch counts as better if it gains more than this
    patience: int = within(1, 10_000, 10)  # epochs without a better one
    rate_below: float = within(0, 1, 0.1)  # counted once the rate is below this share of its peak


Protocol = Literal["train-only", "kaggle", "ferplus-majority", "ferplus-probability"]


@dataclass(frozen=True)
class Config:
    """A whole run. `model` is an architecture as `fer_jax.models.create` takes it."""

    name: str
    model: dict[str, Any]
    epochs: int = within(1, 10_000)
    batch_size: int = within(2, 65_536, 128)
    protocol: Protocol = "train-only"
    holdout: float = within(1e-3, 0.5, 0.1)  # share of the training rows that train-only holds out
    seed: int = 0
    label_smoothing: float = within(0, 0.999, 0.1)
    votes: float = within(0, 1, 0.0)  # share of the targets that follows FER+'s votes
    # share of the targets, at the end of the run, that follows the network's own earlier beliefs
    self_distillation: float = within(0, 0.999, 0.0)
    teachers: tuple[str, ...] = ()  # model files, shown the very views that are trained on
    teaching: float = within(0, 1, 0.0)  # share of the targets that is their mean probabilities
    ema: float = within(0, 0.999999, 0.998)  # decay per step of the averaged weights
    # (share of the run from which, side in pixels) of the training views
    resolutions: tuple[tuple[float, int], ...] = ((0.0, 48),)
    init_from: str = ""  # a model file to start from instead of random weights
    optimizer: Optimizer = field(default_factory=Optimizer)
    augment: Augment = field(default_factory=Augment)
    adversary: Adversary = field(default_factory=Adversary)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)


_PARTS = (Optimizer, Augment, Adversary, EarlyStopping)
_RESOLUTIONS = "(share, side) pairs with shares rising from 0 and sides in 16..48"


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the `config` of an experiment file, with some of its values replaced.

    The file is Python and is executed: load only what you would run. Overrides are KEY=VALUE, with
    dotted keys; the values are Python literals or bare words. What does not fit is an InputError.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such config file")
    if path.suffix != ".py":
        raise InputError(f"{path}: a config is a Python file that ends in .py")
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:  # whatever the user's file raises, in one line
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(config, Config):
        kind = type(config).__name__
        raise InputError(f"{path}: defines no `config = Config(...)`, found {kind}")
    values = to_dict(config)
    for override in overrides:
        _override(values, override)
    return from_dict(values)


def _misfits(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values do not fit the others', and what they must be."""
    adversary = config.adversary
    if not _are_resolutions(config.resolutions):
        yield "resolutions", f"{_RESOLUTIONS}, received {config.resolutions!r}"
    if config.votes and config.protocol.startswith("ferplus"):
        yield "votes", f"0 where protocol is {config.protocol}: all targets are votes there"
    if config.self_distillation and (config.augment.mixup or config.augment.cutmix):
        yield "self_distillation", "0 where augment.mixup or augment.cutmix is used"
    if bool(config.teachers) != bool(config.teaching):
        rule = "above 0 where teachers are named, and only there"
        yield "teaching", f"{rule}, received {config.teaching}"
    if not all(isinstance(path, str) for path in config.teachers):
        yield "teachers", f"paths of model files, received {config.teachers!r}"
    if adversary.method in ("noise", "smoothadv") and not 0 < adversary.sigma <= 1:
        yield "adversary.sigma", f"above 0 and at most 1, received {adversary.sigma}"
    if adversary.method == "smoothadv" and adversary.norm != "l2":
        yield "adversary.norm", f"l2 where method is smoothadv, received {adversary.norm}"
    if config.early_stopping.monitor == "robust_accuracy" and adversary.method == "none":
        yield "early_stopping.monitor", "another than robust_accuracy where there is no adversary"


def _are_resolutions(pairs: tuple) -> bool:
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2):
            return False
        if not (_is_a(pair[0], float) and _is_a(pair[1], int) and 16 <= pair[1] <= 48):
            return False
    shares = [share for share, _ in pairs]
    return shares[:1] == [0] and all(a < b < 1 for a, b in itertools.pairwise(shares))


def to_dict(config: Config) -> dict[str, Any]:
    """Return the values as builtins only, ready for JSON and model files."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """Return the inverse of `to_dict`, also after a round trip through JSON (lists for tuples).

    Every value must have its type, lie in its range and fit the others: InputError names the key.
    """
    config = _build(Config, values, "")
    for key, rule in _misfits(config):
        raise InputError(f"config key {key} must be {rule}")
    return config


def _build(kind: type, values: dict[str, Any], prefix: str) -> Any:
    known = {each.name: each for each in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        rule = f"known are {', '.join(sorted(known))}"
        raise InputError(f"unknown config key {prefix + unknown[0]}: {rule}")
    built = {key: _fitting(known[key], value, prefix + key) for key, value in values.items()}
    try:
        return kind(**built)
    except TypeError as error:
        raise InputError(f"config: {error}") from None


def _fitting(each: dataclasses.Field, value: Any, key: str) -> Any:
    """Return the value of a field, if it has its type and lies in its range."""
    kind: Any = get_origin(each.type) or each.type
    nested = kind in _PARTS
    if nested and isinstance(value, dict):
        return _build(kind, value, f"{key}.")
    if kind is tuple and isinstance(value, list):
        value = tuple(tuple(part) if isinstance(part, list) else part for part in value)
    if nested:
        rule, fits = f"{kind.__name__}(...)", False
    elif kind is Literal:
        rule, fits = f"one of {get_args(each.type)}", value in get_args(each.type)
    elif "within" in each.metadata and _is_a(value, kind):
        low, high = each.metadata["within"]
        rule, fits = f"in [{low}, {high}]", math.isfinite(value) and low <= value <= high
    else:
        rule, fits = f"of type {kind.__name__}", _is_a(value, kind)
    if not fits:
        raise InputError(f"config key {key} must be {rule}, received {value!r}")
    return value


def _override(values: dict[str, Any], override: str) -> None:
    """Replace one of a config's values; `from_dict` and `models.create` know the keys."""
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"--set takes key=value, received {override!r}")
    try:
        value = ast.literal_eval(text)
    # what literal_eval raises of odd texts
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    *path, last = key.split(".")
    for name in path:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise InputError(f"unknown config key {key}: {name} has no parts")
    if isinstance(values.get(last), float) and type(value) is int:
        value = float(value)
    values[last] = value


def _is_a(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)
