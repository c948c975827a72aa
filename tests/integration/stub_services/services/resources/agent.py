import json
import os
from pathlib import Path

from services.stub import note, until_told

node = os.environ["FORGELOG_NODE"]
note(node)
said = {"agent_id": "stub", "registered": True, "problem": ""}
(Path(os.environ["FORGELOG_AGENT_DIR"]) / "membership.json").write_text(json.dumps(said))
until_told(node)
