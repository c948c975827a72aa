"""The pipelines that a Python file declares at the top of its module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from forgelog.errors import InvalidInput
from forgelog.pipelines.declaring.pipelines import DeclaredPipeline


def pipelines_of(file: Path) -> list[DeclaredPipeline]:
    """The file is imported under its own name, from its own folder, so that stages have the names that workers import
    them by. Raises `InvalidInput`."""
    file = file.resolve()
    if not file.is_file():
        raise InvalidInput(f"can't read {file}: there is no such file")
    if not file.stem.isidentifier():
        raise InvalidInput(f"{file.name} is no name of a module; use letters, digits and _, no digit first")
    sys.path.insert(0, str(file.parent))
    try:
        module = importlib.import_module(file.stem)
    except Exception as error:
        raise InvalidInput(f"{file} can't be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    if Path(getattr(module, "__file__", None) or "").resolve() != file:
        raise InvalidInput(f"{file.name} has the name of another module, {module.__name__}; rename the file")
    found = [each for each in vars(module).values() if isinstance(each, DeclaredPipeline)]
    if not found:
        raise InvalidInput(f"{file} declares no pipeline at the top of the module; write forgelog.pipeline(...) there")
    return list({each.name: each for each in found}.values())
