"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import lanewise as lw
import pytest

MODULES = [m.name for m in pkgutil.iter_modules(lw.__path__) if m.name not in ("_core", "__main__")]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    assert doctest.testmod(importlib.import_module(f"lanewise.{module}")).failed == 0


@pytest.mark.parametrize("name", [n for n in lw.__all__ if n != "__version__"])
def test_every_public_function_is_documented(name):
    documentation = getattr(lw, name).__doc__
    assert documentation
    assert documentation.splitlines()[0].endswith(".")
