"""Our network in torch, and pyautoattack's stages as functions of arrays.

    network = torch_oracle.network(model_file.load("my_own_model.pkl"))
    found = torch_oracle.stages(network, eps=8 / 255, norm="linf")["apgd-ce"](images, labels)

Images are float32 [B, H, W, C] in [0, 1] on this side, labels int [B]. Needs the extra `oracles`.
"""

# pyright: reportMissingImports=false
import functools
import logging
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer_jax.errors import InputError
from fer_jax.labels import NUM_CLASSES
from fer_jax.models import layers, vgg
from fer_jax.models.model_file import ModelFile
from fer_jax.types import IMAGE_SIZE

# what an architecture may say and `Vgg` understands
KNOWN = {"family", "stages", "dropout", "crop", "classes"}


class Vgg(nn.Module):
    """`models.vgg.Model` in evaluation mode: images [B, 1, H, W] -> logits [B, classes]."""

    def __init__(self, model: ModelFile):
        super().__init__()
        self.crop = model.architecture.get("crop", IMAGE_SIZE)
        self.stages = model.architecture["stages"]
        self.weights = nn.ParameterDict()
        for part in ("params", "batch_stats"):
            for layer, arrays in model.variables[part].items():
                for name, x in arrays.items():
                    # kernels are [3, 3, in, out] and [in, out] in flax
                    x = x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T
                    self.weights[f"{layer}/{name}"] = torch.tensor(np.ascontiguousarray(x))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        margin = max(0, images.shape[2] - self.crop) // 2
        x = images[:, :, margin : margin + self.crop, margin : margin + self.crop]
        x = (x - vgg.PIXEL_MEAN) / vgg.PIXEL_STD
        for i, stage in enumerate(self.stages, 1):
            for j in range(1, len(stage) + 1):
                x = F.conv2d(x, self.weights[f"conv{i}_{j}/kernel"], padding=1)
                names = [f"norm{i}_{j}/{name}" for name in ("mean", "var", "scale", "bias")]
                x = F.batch_norm(x, *(self.weights[name] for name in names), eps=layers.EPSILON)
                x = F.relu(x)
            x = F.max_pool2d(x, 2)
        x = x.mean(dim=(2, 3))
        return F.linear(x, self.weights["logits/kernel"], self.weights["logits/bias"])


def network(model: ModelFile, device: str = "cpu") -> Vgg:
    """Return the model's network with its weights, frozen, in evaluation mode, on torch's `device`.

    Raises an InputError if it is of another family, or has options that this copy does not know.
    """
    if model.architecture.get("family") != "vgg" or not model.architecture.keys() <= KNOWN:
        rule = f"the torch copy is made for vgg with {sorted(KNOWN)}"
        raise InputError(f"{rule}, received {model.architecture}")
    return Vgg(model).eval().requires_grad_(False).to(device)


def logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the logits, float32 [B, C], of images float32 [B, H, W, C]."""
    device = next((each.device for each in network.parameters()), "cpu")
    with torch.no_grad():
        return network(_channels_first(images, device)).cpu().numpy()


def stages(
    network, eps: float, norm, steps=100, queries=5000, classes=NUM_CLASSES, seed=0, device="cpu"
) -> dict[str, Callable[..., np.ndarray]]:
    """Return the stages of pyautoattack's AutoAttack: (images, true labels) -> images.

    They are built as its `AutoAttack` builds them, and called without its checks of the model, so
    that time is the attack's alone. But all other classes are targets (it would try nine, and fail
    with seven), and with fewer than its 5,000 queries Square's squares shrink sooner.
    """
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    common = {"eps": eps, "norm": norm.capitalize(), "seed": seed, "device": device}
    logged = {**common, "n_iter": steps, "logger": logging.getLogger("auto-attack")}
    targets = {"n_target_classes": classes - 1}
    attacks = {
        "apgd-ce": APGDAttack(network, loss="ce", **logged),
        "apgd-t": APGDAttack_targeted(network, **targets, **logged),
        "fab-t": FABAttack_PT(network, n_iter=steps, targeted=True, **targets, **common),
        "square": SquareAttack(network, n_queries=queries, resc_schedule=queries < 5000, **common),
    }
    return {name: functools.partial(_run, attack) for name, attack in attacks.items()}


def _run(attack, images: np.ndarray, labels: np.ndarray, number: int = 0) -> np.ndarray:
    with torch.no_grad():
        goals = torch.from_numpy(labels.astype(np.int64)).to(attack.device)
        found = attack.perturb(_channels_first(images, attack.device), goals)
    return np.moveaxis(found.cpu().numpy(), 1, -1)


def _channels_first(images: np.ndarray, device: str | torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32)).to(device)
