"""What `import forgelog` offers: each name is what it is meant to be, whatever else has been imported."""

from __future__ import annotations

from pkgutil import iter_modules

import forgelog


def test_no_module_hides_a_public_name() -> None:
    """A module that is imported becomes an attribute of its package, in place of the name that is looked up lazily."""
    modules = {module.name for module in iter_modules(forgelog.__path__)}
    assert modules & set(forgelog.__all__) == set()


def test_each_public_name_is_there() -> None:
    assert [name for name in forgelog.__all__ if not hasattr(forgelog, name)] == []
