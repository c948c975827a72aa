"""Tables of commands: what may be a long text can be shortened or wrapped, or the column is the first to go."""

from __future__ import annotations

import re
from pathlib import Path

import forgelog.cli

LONG = r'[cC]olumn\("(?:Error|Why|Reason|Summary|Message|Problem|Detail|Description)"[^\n]*'


def test_no_column_of_long_texts_is_shown_whole_or_not_at_all() -> None:
    found = [
        f"{path.name}: {match[0].strip()}"
        for path in sorted(Path(forgelog.cli.__file__).parent.glob("*.py"))
        for match in re.finditer(rf"{LONG}(?:\n[^\n]*)?", path.read_text())
        if "least=" not in match[0]
    ]
    assert found == [], "give it least=, and wrap=True if it is to be read whole"
