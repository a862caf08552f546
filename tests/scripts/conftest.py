"""What the tests of scripts share: loading one as a module."""

import importlib.util
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def load_script(root) -> Callable[[str], ModuleType]:
    """The script of that name, without its .py, as a module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{name}", root / "scripts" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
