"""What other libraries' attacks do to a small network, for the tests that run without those
libraries.

    python tests/oracles/record.py      # needs the extra `oracles`; writes
    tests/oracles/recorded/*.npz

Network and images are made of numpy's random numbers and lie in the record themselves. foolbox runs
on our network through its `JAXModel`, in float64; pyautoattack on the same network in torch, each
stage on all images, in float32.
"""

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import attacks

HERE = Path(__file__).resolve().parent
GRADIENT, AUTOATTACK = HERE / "recorded" / "foolbox.npz", HERE / "recorded" / "pyautoattack.npz"
# pyautoattack's Square in L2 fails on sides that are not nearly a multiple of 5
SIDE, CLASSES = 15, 7
AUTOATTACK_EPS = {"linf": 0.0085, "l2": 0.09}  # of which about half of the images survive
STEPS, QUERIES = 25, 200  # of a published 100 and 5,000: enough for so small a network


class Case(NamedTuple):
    """One attack from the image itself, without a random start, that returns its last image."""

    method: str  # fgsm, bim or pgd
    norm: str
    targeted: bool
    eps: float
    step_size: float
    steps: int

    @property
    def name(self) -> str:
        return "-".join([self.method, self.norm, *["targeted"] * self.targeted])


CASES = [
    Case(method, norm, targeted, eps, step_size, steps)
    for method, norm, eps, step_size, steps in (
        ("fgsm", "linf", 0.02, 0.02, 1),
        ("bim", "linf", 0.05, 0.005, 10),
        ("pgd", "linf", 0.05, 0.02, 8),
        ("pgd", "l2", 0.6, 0.2, 8),
    )
    for targeted in (False, True)
]


def small_logits(weights: dict, images: jax.Array) -> jax.Array:
    """Two convolutions, tanh, and a dense layer: smooth, so that no gradient hangs on which side of
    a kink a pixel lies.
    """
    x = images - 0.5
    for name, stride in (("first", 1), ("second", 2)):
        layout = ("NHWC", "HWIO", "NHWC")
        pad = ((1, 1), (1, 1))
        x = jnp.tanh(
            jax.lax.conv_general_dilated(
                x, weights[name], (stride, stride), pad, dimension_numbers=layout
            )
        )
    return x.reshape(len(x), -1) @ weights["dense"]


def small_inputs(seed: int, count: int) -> dict[str, np.ndarray]:
    """Weights, and "images" [count, 15, 15, 1], float32; on some pixels the box is within an
    attack's reach.
    """
    random = np.random.default_rng(seed)
    shapes = {"first": (3, 3, 1, 8), "second": (3, 3, 8, 8), "dense": (8 * 8 * 8, CLASSES)}
    weights = {
        name: random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        for name, shape in shapes.items()
    }
    weights["dense"] *= 4
    arrays = {**weights, "images": random.uniform(0, 1, (count, SIDE, SIDE, 1))}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def our_images(case: Case, logits_fn, images: jax.Array, labels: jax.Array) -> np.ndarray:
    """What our attack makes of `images`."""
    options = {"eps": case.eps, "targeted": case.targeted}
    if case.method != "fgsm":
        steps = {"step_size": case.step_size, "steps": case.steps, "norm": attacks.NORMS[case.norm]}
        options |= {**steps, "random_start": False, "keep_best": False}
    attack = attacks.fgsm if case.method == "fgsm" else attacks.pgd
    return np.asarray(attack(jax.random.key(0), logits_fn, images, labels, **options))


def foolbox_images(case: Case, logits_fn, images: jax.Array, labels: jax.Array) -> np.ndarray:
    """What foolbox's attack makes of `images`; with a targeted case, labels are where to go."""
    import eagerpy
    import foolbox
    from foolbox import attacks as theirs
    from foolbox import criteria

    options = {"abs_stepsize": case.step_size, "steps": case.steps, "random_start": False}
    if case.method == "fgsm" and not case.targeted:
        attack = theirs.LinfFastGradientAttack(random_start=False)
    else:  # foolbox has no targeted FGSM: it is one step of PGD
        linf = theirs.LinfBasicIterativeAttack if case.method == "bim" else theirs.LinfPGD
        attack = (theirs.L2PGD if case.norm == "l2" else linf)(**options)
    criterion = criteria.TargetedMisclassification if case.targeted else criteria.Misclassification
    model = foolbox.JAXModel(logits_fn, bounds=(0, 1))
    return np.asarray(
        attack.run(model, images, criterion(eagerpy.astensor(labels)), epsilon=case.eps)
    )


def record_gradient_attacks() -> None:
    inputs = small_inputs(seed=0, count=8)
    recorded = {}
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            given = {name: jnp.asarray(array, dtype) for name, array in inputs.items()}
            logits_fn = jax.jit(lambda images, given=given: small_logits(given, images))
            labels = logits_fn(given["images"]).argmax(axis=1)
            for case in CASES:
                goals = (labels + 1) % CLASSES if case.targeted else labels
                found = foolbox_images(case, logits_fn, given["images"], goals)
                worst = np.abs(found - recorded.get(case.name, found)).max()
                if worst > 3e-7:
                    raise SystemExit(
                        f"{case.name}: a sign hangs on rounding ({worst:.1e}); choose another seed"
                    )
                recorded[case.name] = found.astype(np.float32)
    np.savez_compressed(GRADIENT, **inputs, labels=np.asarray(labels, np.int32), **recorded)


def record_autoattack() -> None:
    import torch

    oracle = load_torch_oracle()
    inputs = small_inputs(seed=1, count=32)
    network = torch_network(inputs)
    labels = oracle.logits(network, inputs["images"]).argmax(axis=1)
    broken = {}
    torch.set_num_threads(1)
    for norm, eps in AUTOATTACK_EPS.items():
        for stage, attack in oracle.stages(network, eps, norm, STEPS, QUERIES, CLASSES).items():
            found = oracle.logits(network, attack(inputs["images"], labels)).argmax(axis=1)
            broken[f"{norm} {stage}"] = found != labels
            print(f"{norm} {stage}: {broken[f'{norm} {stage}'].sum()} of {len(labels)} broken")
    np.savez_compressed(AUTOATTACK, **inputs, labels=labels.astype(np.int32), **broken)


def torch_network(weights: dict[str, np.ndarray]):
    """`small_logits` in torch, on images [B, 1, H, W]."""
    import torch

    first, second = (
        torch.from_numpy(np.ascontiguousarray(weights[k].transpose(3, 2, 0, 1)))
        for k in ("first", "second")
    )
    dense = torch.from_numpy(weights["dense"])

    class Network(torch.nn.Module):
        def forward(self, images):
            x = torch.tanh(torch.nn.functional.conv2d(images - 0.5, first, padding=1))
            x = torch.tanh(torch.nn.functional.conv2d(x, second, padding=1, stride=2))
            return x.permute(0, 2, 3, 1).flatten(1) @ dense

    return Network().eval()


def load_torch_oracle():
    """The module benchmarks/torch_oracle.py."""
    path = HERE.parents[1] / "benchmarks" / "torch_oracle.py"
    spec = importlib.util.spec_from_file_location("torch_oracle", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    GRADIENT.parent.mkdir(exist_ok=True)
    record_gradient_attacks()
    record_autoattack()


if __name__ == "__main__":
    sys.exit(main())
