"""What may be a secret, by its name or by its form: such files, arguments and parts of URLs are not captured.

It errs on the side of leaving out. It can't know every secret: a password in a program's source is captured with the
source.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import pairwise

HIDDEN = "***"

_FILES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.gpg",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".htpasswd", ".pgpass",
    ".git-credentials", ".dockercfg", "credentials", "credentials.*", "*credentials*.json", "*credentials*.y*ml",
    "secret", "secrets", "secret.*", "secrets.*", "*secret*.json", "*secret*.y*ml", "*secret*.toml", "*secret*.ini",
    "*secret*.txt", "service-account*.json", "service_account*.json", "*.tfvars", "*.tfstate", "kubeconfig", "*.token",
    "token", "token.txt", "*.ppk", "*.ovpn",
)  # fmt: skip
_EXAMPLES = ("*.example", "*.sample", "*.template", "*.dist")

_KNOWN = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    rb"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{60,}"
    rb"|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # GitLab, Slack
    rb"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{32,}|\bAIza[0-9A-Za-z_-]{35}"  # Hugging Face, OpenAI, Google
)

_WORDS = frozenset({"password", "passwd", "passphrase", "pwd", "secret", "credential", "credentials", "apikey"})
_KEYS = frozenset({"api", "access", "private", "secret", "account", "auth", "encryption", "signing"})
_NO_SECRET_TOKENS = frozenset(
    {"eos", "bos", "pad", "unk", "mask", "sep", "cls", "special", "per", "end", "start", "stop", "image", "new", "max"}
)

_USER = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s'\"]*@")
_PASSWORD = re.compile(r"(\bssh://[^/@:\s'\"]+):[^/@\s'\"]*@")


def is_secret_file(path: str) -> bool:
    """Whether a file's name says that it may have secrets. Names that end as those of examples do not."""
    name = path.rsplit("/", 1)[-1].lower()
    if any(fnmatchcase(name, each) for each in _EXAMPLES):
        return False
    return any(fnmatchcase(name, each) for each in _FILES)


def has_secret(data: bytes) -> bool:
    """Whether there is a private key, or a token of a well-known form."""
    return _KNOWN.search(data) is not None


def is_secret_name(name: str) -> bool:
    """Whether a value of this name may be a secret: ``--db-password``, ``api_key``, ``HF_TOKEN``; not ``eos_token`` or
    ``max_tokens``."""
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()) if word]
    if _WORDS.intersection(words):
        return True
    if any(first in _KEYS and second == "key" for first, second in pairwise(words)):
        return True
    return bool(words) and words[-1] == "token" and not _NO_SECRET_TOKENS.intersection(words)


def without_passwords(text: str) -> str:
    """A text whose URLs have no user and password; of ``ssh`` the user stays, who is no secret."""
    text = _PASSWORD.sub(r"\1@", text)
    return _USER.sub(lambda found: found[0] if found[1] == "ssh://" else found[1], text)


def printable(text: str, most: int = 500) -> str:
    """A text as the language takes it: one line, valid Unicode, at most so many characters."""
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def arguments(argv: list[str]) -> tuple[list[str], list[str]]:
    """Arguments with ``***`` in place of what may be secret, and the names of those."""
    shown: list[str] = []
    hidden: list[str] = []
    option = ""
    """The name of an option whose value may come next."""
    for each in argv:
        name, equals, _ = each.partition("=")
        if option and not each.startswith("-"):
            hidden.append(option)
            shown.append(HIDDEN)
            option = ""
            continue
        option = ""
        if equals and is_secret_name(name):
            hidden.append(name)
            shown.append(f"{name}={HIDDEN}")
        elif has_secret(each.encode("utf-8", "backslashreplace")):
            hidden.append(name if equals else "an argument")
            shown.append(f"{name}={HIDDEN}" if equals else HIDDEN)
        else:
            shown.append(without_passwords(each))
            if each.startswith("-") and is_secret_name(each):
                option = each
    return shown, hidden
