"""Words of a command line that nothing can send: those that are no UTF-8, and whole numbers that are too large.

No option looks for them: file names may be any bytes, and each field has its own bounds. They are looked for only when
a library has refused one, with an error that is not for people. Must not know the commands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?[0-9]+")
_REFUSED_NUMBER = re.compile(r"Value out of range: (-?[0-9]+)|Integer exceeds 64-bit range|int too (?:big|large) to .*")
_NO_NUMBER = re.compile(r"cannot convert float (?:NaN|infinity) to integer")
_REFUSED_TEXT = re.compile(r".*(?:surrogates not allowed|returned a result with an exception set).*", re.DOTALL)
_LONG = 10**15
"""What a smaller one is multiplied by, such as a day's seconds, does not make it too large."""


def said_of(error: Exception, words: Sequence[str]) -> str:
    """The error for people, if a library's error is about one of the words; else empty."""
    for text in (str(error), str(error.__cause__ or "")):
        if (found := _REFUSED_NUMBER.fullmatch(text)) is not None:
            refused = found[1]
            for place, word in _values(words):
                number = _NUMBER.fullmatch(word) if refused else _NUMBER.match(word)  # 9999999999999999999h is one, too
                if number and (int(number[0]) == int(refused) if refused else abs(int(number[0])) > _LONG):
                    return f"{place}{word} is out of range; write a smaller number"
        if _NO_NUMBER.fullmatch(text) is not None:
            for place, word in _values(words):
                if word.lower().lstrip("+-") in ("nan", "inf", "infinity"):
                    return f"{place}{word} is no finite number; write a finite number"
        if _REFUSED_TEXT.fullmatch(text) is not None:
            for place, word in _values(words):
                if any("\ud800" <= char <= "\udfff" for char in word):
                    return f"{place}{word!r} is no UTF-8; write it in UTF-8"
    return ""


def _values(words: Sequence[str]) -> list[tuple[str, str]]:
    """Each word, without the option before its ``=``, and the option that it is given to, in front of a colon."""
    found, option = [], ""
    for word in words:
        if word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            found.append((f"{name}: ", value))
        elif not word.startswith("-") or _NUMBER.fullmatch(word):
            found.append((option, word))
        option = f"{word}: " if word.startswith("-") and not _NUMBER.fullmatch(word) else ""
    return found
