"""Inputs of the tests of faces; YuNet is never at hand by itself."""

import numpy as np
import pytest

from fer_jax import faces


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8)


@pytest.fixture(scope="session")
def yunet_file(shared):
    path = shared / "models" / faces.YUNET_FILE
    if not path.is_file():
        pytest.skip(f"needs YuNet: {path} (set FER_SHARED)")
    return path


@pytest.fixture(autouse=True)
def no_yunet_at_hand(monkeypatch, tmp_path_factory):
    """Whatever the user's own environment and cache hold."""
    monkeypatch.delenv("FER_JAX_YUNET", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
