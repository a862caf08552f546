"""What a training run is made of: frozen dataclasses that a plain Python file fills in.

config = load("experiments/vgg.py", ["epochs=5", "optimizer.learning_rate=0.05"])
"""

import ast
import dataclasses
import importlib.util
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fer_jax.errors import InputError


@dataclass(frozen=True)
class Optimizer:
    """SGD with Nesterov momentum and L2 weight decay on the kernels."""

    learning_rate: float = 0.1  # the schedule's peak, for batches of `Config.batch_size`
    schedule: Literal["one-cycle", "cosine", "plateau"] = "one-cycle"
    # share of the run over which the rate rises to its peak (one-cycle and cosine)
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    plateau_factor: float = 0.75  # plateau: the rate is multiplied by this ...
    plateau_patience: int = 5  # ... after so many epochs without a lower training loss


@dataclass(frozen=True)
class Augment:
    """How far an image is moved at random; 0 everywhere leaves it as it is."""

    flip: bool = True
    shift: float = 0.1  # of the side, each axis, uniform in +-shift
    scale: float = 0.1  # zoom factor uniform in 1 +- scale
    rotate: float = 10.0  # degrees, uniform in +-rotate
    contrast: float = 0.2  # factor uniform in 1 +- contrast about the image's mean
    brightness: float = 0.1  # added, uniform in +-brightness of the full range
    erase: float = 0.2  # probability that a random rectangle (2-20 % of the area) becomes noise
    mixup: float = 0.0  # alpha of Zhang et al. 2018; 0 is off


@dataclass(frozen=True)
class Adversary:
    """Who changes the training images before the network sees them, and by how much; see
    `fer_jax.robust`.
    """

    method: Literal["none", "fgsm", "pgd", "trades", "noise", "smoothadv"] = "none"
    norm: Literal["linf", "l2"] = "linf"
    eps: float = 4 / 255  # largest change, in pixel units of [0, 1]
    step_size: float = 1.0  # as a share of eps
    steps: int = 1
    beta: float = 6.0  # trades: weight of the divergence against that of the clean images
    # adversarial weight perturbation: length of the step as a share of each kernel's; 0 is off
    awp: float = 0.0
    sigma: float = 0.25  # noise and smoothadv: standard deviation in pixel units
    # smoothadv: of the noise, over which the smoothed classifier's answer is averaged
    draws: int = 1


@dataclass(frozen=True)
class EarlyStopping:
    """When a run ends before its last epoch. The weights of the best epoch are what it delivers,
    stopped or not.
    """

    # Of the hold-out; "robust_accuracy" needs an adversary. "last" keeps the last epoch: a small
    # hold-out chooses by luck.
    monitor: Literal["accuracy", "loss", "robust_accuracy", "last"] = "accuracy"
    min_delta: float = 0.0  # an epoch counts as better if it gains more than this
    patience: int = 10  # epochs without a better one
    rate_below: float = 0.1  # counted only once the rate has fallen below this share of its peak


@dataclass(frozen=True)
class Config:
    """A whole run. `model` is an architecture as `fer_jax.models.create` takes it."""

    name: str
    model: dict[str, Any]
    epochs: int
    batch_size: int = 128
    protocol: Literal["train-only", "kaggle", "ferplus-majority", "ferplus-probability"] = (
        "train-only"
    )
    holdout: float = 0.1  # share of the training rows that train-only holds out
    seed: int = 0
    label_smoothing: float = 0.1
    # share of the targets that is what FER+'s annotators' votes let expect, not the label itself
    votes: float = 0.0
    # weight of the network's own earlier beliefs in the targets at the end of the run
    self_distillation: float = 0.0
    # model files whose mean probabilities, of the very views that are trained on, ...
    teachers: tuple[str, ...] = ()
    teaching: float = 0.0  # ... take this share of the targets
    # decay per step of the averaged weights, the ones that are evaluated and delivered
    ema: float = 0.998
    # (share of the run from which, side in pixels)
    resolutions: tuple[tuple[float, int], ...] = ((0.0, 48),)
    init_from: str = ""  # a model file to start from instead of random weights
    optimizer: Optimizer = field(default_factory=Optimizer)
    augment: Augment = field(default_factory=Augment)
    adversary: Adversary = field(default_factory=Adversary)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)


_RULES = {
    "epochs": (1, 10_000),
    "batch_size": (2, 65_536),
    "holdout": (1e-3, 0.5),
    "label_smoothing": (0, 0.999),
    "votes": (0, 1),
    "self_distillation": (0, 0.999),
    "teaching": (0, 1),
    "ema": (0, 0.999999),
    "optimizer.learning_rate": (1e-8, 100),
    "optimizer.warmup": (0, 0.99),
    "optimizer.momentum": (0, 0.9999),
    "optimizer.weight_decay": (0, 1),
    "optimizer.plateau_factor": (1e-3, 0.999),
    "optimizer.plateau_patience": (1, 10_000),
    "augment.shift": (0, 0.5),
    "augment.scale": (0, 0.9),
    "augment.rotate": (0, 180),
    "augment.contrast": (0, 1),
    "augment.brightness": (0, 1),
    "augment.erase": (0, 1),
    "augment.mixup": (0, 100),
    "adversary.eps": (0, 1),
    "adversary.step_size": (0, 10),
    "adversary.steps": (1, 1_000),
    "adversary.beta": (0, 1_000),
    "adversary.awp": (0, 1),
    "adversary.sigma": (0, 10),
    "adversary.draws": (1, 1_000),
    "early_stopping.min_delta": (0, 100),
    "early_stopping.patience": (1, 10_000),
    "early_stopping.rate_below": (0, 1),
}


def load(path: str | Path, overrides: list[str] | None = None) -> Config:
    """The `config` of an experiment file, with `key=value` overrides (dotted keys, Python literals
    or bare words).

    The file is Python and is executed: load only what you would run.

    Raises:
        InputError: no such file, no `config` in it, an unknown key, a value of another type or out
            of its range.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such config file")
    spec = importlib.util.spec_from_file_location("_fer_jax_experiment", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: a config is a Python file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises, said in one line
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    config = getattr(module, "config", None)
    if not isinstance(config, Config):
        raise InputError(
            f"{path}: defines no `config = Config(...)`, found {type(config).__name__}"
        )
    for override in overrides or []:
        config = _override(config, override)
    return check(config)


def check(config: Config) -> Config:
    """`config` itself, if every value has its declared type and lies in its range.

    Raises:
        InputError: naming the key, the rule and the value.
    """
    _check_types(config, "")
    for key, (low, high) in _RULES.items():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"config key {key} must be in [{low}, {high}], received {value!r}")
    _check_resolutions(config.resolutions)
    if config.votes and config.protocol.startswith("ferplus"):
        raise InputError(
            f"config key votes must be 0 where protocol is {config.protocol}: all targets are votes there"
        )
    if config.self_distillation and config.augment.mixup:
        raise InputError("config key self_distillation must be 0 where augment.mixup is used")
    if bool(config.teachers) != bool(config.teaching):
        raise InputError(
            f"config key teaching must be above 0 where teachers are named, and only there, received {config.teaching}"
        )
    if not all(isinstance(path, str) for path in config.teachers):
        raise InputError(
            f"config key teachers must be paths of model files, received {config.teachers!r}"
        )
    if config.adversary.method in ("noise", "smoothadv") and not 0 < config.adversary.sigma <= 1:
        raise InputError(
            f"config key adversary.sigma must be above 0 and at most 1, received {config.adversary.sigma}"
        )
    if config.adversary.method == "smoothadv" and config.adversary.norm != "l2":
        raise InputError(
            f"config key adversary.norm must be l2 where method is smoothadv, received {config.adversary.norm}"
        )
    if config.early_stopping.monitor == "robust_accuracy" and config.adversary.method == "none":
        raise InputError(
            "config key early_stopping.monitor must not be robust_accuracy where adversary.method is none"
        )
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Builtins only, ready for JSON and model files."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict`, also after a round trip through JSON (lists for tuples).

    Raises:
        InputError: an unknown or missing key, or a value that `check` refuses.
    """
    return check(_build(Config, values, ""))


def _build(kind: type, values: dict[str, Any], prefix: str) -> Any:
    hints, known = get_type_hints(kind), {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"unknown config key {prefix + unknown[0]}: known are {', '.join(sorted(known))}"
        )
    built = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            value = _build(hints[key], value, f"{prefix}{key}.")
        elif key in ("resolutions", "teachers") and isinstance(value, list):
            value = tuple(tuple(part) if isinstance(part, list) else part for part in value)
        built[key] = value
    try:
        return kind(**built)
    except TypeError as error:
        raise InputError(f"config: {error}") from None


def _override(config: Any, override: str) -> Any:
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"--set takes key=value, received {override!r}")
    try:
        value = ast.literal_eval(text)
    # what literal_eval raises of odd texts
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    return _replaced(config, key.split("."), value, key)


def _replaced(node: Any, path: list[str], value: Any, key: str) -> Any:
    head, *rest = path
    # an architecture, which may leave out what has a default: `models.create` checks its keys
    if isinstance(node, dict):
        old = node.get(head)
    elif head in (known := [f.name for f in dataclasses.fields(node)]):
        old = getattr(node, head)
    else:
        raise InputError(f"unknown config key {key}: known are {', '.join(known)}")
    if rest:
        if not (dataclasses.is_dataclass(old) or isinstance(old, dict)):
            raise InputError(f"unknown config key {key}: {head} has no parts")
        value = _replaced(old, rest, value, key)
    elif isinstance(old, float) and type(value) is int:
        value = float(value)
    return (
        {**node, head: value}
        if isinstance(node, dict)
        else dataclasses.replace(node, **{head: value})
    )


def _check_types(node: Any, prefix: str) -> None:
    for name, hint in get_type_hints(type(node)).items():
        value = getattr(node, name)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if not isinstance(value, hint):
                raise InputError(
                    f"config key {prefix}{name} must be {hint.__name__}(...), received {value!r}"
                )
            _check_types(value, f"{prefix}{name}.")
        elif get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise InputError(
                    f"config key {prefix}{name} must be one of {get_args(hint)}, received {value!r}"
                )
        elif not _is_a(value, get_origin(hint) or hint):
            expected = (get_origin(hint) or hint).__name__
            raise InputError(
                f"config key {prefix}{name} must be of type {expected}, received {value!r}"
            )


def _is_a(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _check_resolutions(resolutions: tuple) -> None:
    rule = "config key resolutions must be (share, side) pairs with shares rising from 0 and sides in 16..48"
    well_formed = resolutions and all(
        isinstance(pair, tuple) and len(pair) == 2 and _is_a(pair[0], float) and _is_a(pair[1], int)
        for pair in resolutions
    )
    if not well_formed:
        raise InputError(f"{rule}, received {resolutions!r}")
    shares = [share for share, _ in resolutions]
    rising = shares[0] == 0 and all(a < b < 1 for a, b in itertools.pairwise(shares))
    if not rising or not all(16 <= side <= 48 for _, side in resolutions):
        raise InputError(f"{rule}, received {resolutions!r}")
