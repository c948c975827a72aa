"""What a wheel has beside the sources: the package `forgelog_pb` with the `.proto` files, the synchronous client, and
the compiled parts.

All are made anew in a folder of their own: what lies in the checkout is neither taken nor changed, so two builds, or
a build beside a running platform, don't meet. The parts are the log's helper (for the Python that builds) and the
agent's launcher. Without a C compiler and Python's headers, or with ``FORGELOG_PURE=1``, the wheel is pure Python and
does the same work more slowly; `forgelog doctor` says which it is.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "forgelog_pb"
CLIENT = "forgelog/client/sync.py"
LOG = "events/log"
AGENT = "services/resources/agent/native"


class BuildHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # a checkout makes its own: `make setup`
        # Kept until `finalize`: the wheel is written in between.
        self._folder = tempfile.TemporaryDirectory(prefix="forgelog-wheel-")
        made = Path(self._folder.name)
        files = build_data["force_include"]
        command = [sys.executable, "-P", "-c", _GENERATE, self.root, str(made / PACKAGE), str(made / "sync.py")]
        if subprocess.run(command, check=False).returncode:
            raise RuntimeError("the generated Python code could not be made; the reason stands above")
        files[str(made / PACKAGE)] = PACKAGE
        files[str(made / "sync.py")] = CLIENT
        compiled = {} if os.environ.get("FORGELOG_PURE") else self._compile(made)
        files.update(compiled)
        if compiled:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()

    def _compile(self, made: Path) -> dict[str, str]:
        """Built file → its place in the wheel; fewer where something can't be built here."""
        helpers, programs = made / "log", made / "bin"
        helpers.mkdir()
        log = self._module(f"{LOG}/native.py")
        for name in log.NAMES:
            self.app.display_info(log.compile_module(name, helpers))
        if (program := self._module(f"{AGENT}/__init__.py").launcher(programs)) is None:
            self.app.display_warning("no compiled launcher: agents build it at their first start, or do without")
        files = {str(each): f"{LOG}/{each.name}" for each in helpers.iterdir()}
        return files if program is None else {**files, str(program): f"{AGENT}/bin/{program.name}"}

    def _module(self, path: str) -> ModuleType:
        """A module of the sources, without what else its package imports."""
        spec = importlib.util.spec_from_file_location("forgelog_build", Path(self.root) / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


_GENERATE = """
import sys
sys.path.insert(0, sys.argv[1])
sys.argv[1:] = ["--package", sys.argv[2], "--client", sys.argv[3]]
from proto.generate import main
raise SystemExit(main())
"""
