"""What may be a secret is told by its name or its form, and what only sounds like one is captured."""

from __future__ import annotations

import pytest

from forgelog.capture.secrets import arguments, has_secret, is_secret_file, is_secret_name, printable, without_passwords


@pytest.mark.parametrize(
    "path", [".env", "deploy/.env.production", "ssh/id_rsa.pub", "server.PEM", "aws/credentials", "my-secrets.yaml"]
)
def test_files_with_names_of_secrets(path: str) -> None:
    assert is_secret_file(path)


@pytest.mark.parametrize("path", ["train.py", ".env.example", "environment.yml", "tokenizer.json", "src/keys.py"])
def test_other_files(path: str) -> None:
    assert not is_secret_file(path)


@pytest.mark.parametrize(
    "name", ["--db-password", "api_key", "HF_TOKEN", "--apiKey", "AWS_SECRET_ACCESS_KEY", "hub.token", "--passphrase"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["--eos-token", "max_tokens", "--tokenizer", "key", "--bypass", "--monkey", "lr"])
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("argv", "shown", "hidden"),
    [
        (["train.py", "--api-key", "abc", "--lr", "1"], ["train.py", "--api-key", "***", "--lr", "1"], ["--api-key"]),
        (["--password=abc", "hub.token=x"], ["--password=***", "hub.token=***"], ["--password", "hub.token"]),
        (["--token", "--verbose"], ["--token", "--verbose"], []),
        (["--url", "postgres://u:p@db/x"], ["--url", "postgres://db/x"], []),
        (["login", "ghp_" + "a" * 36], ["login", "***"], ["an argument"]),
    ],
)
def test_arguments_hide_what_may_be_secret(argv: list[str], shown: list[str], hidden: list[str]) -> None:
    assert arguments(argv) == (shown, hidden)


def test_tokens_of_well_known_forms() -> None:
    assert has_secret(b"key = 'AKIAIOSFODNN7EXAMPLE'")
    assert not has_secret(b"the AKIA of a word, sk-learn, hf_dataset")


def test_urls_lose_users_and_passwords() -> None:
    assert without_passwords("--index-url https://u:p@example.org/simple") == "--index-url https://example.org/simple"
    assert without_passwords("ssh://git:p@example.org/x") == "ssh://git@example.org/x"
    assert without_passwords("mail ada@example.org") == "mail ada@example.org"


def test_texts_are_one_line_of_valid_unicode() -> None:
    assert printable("a\n\tb\udcff") == "a b\\udcff"
    assert printable("x" * 600) == "x" * 497 + "..."
