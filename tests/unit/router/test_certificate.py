"""The certificate of a router: a good pair is taken; of any other the setting and the file are named, and no key."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from events.process.settings import Settings, SettingsError
from services.deployments.router.certificate import outside_its_time, read_certificate
from services.deployments.router.config import Config, load
from tests.certificates import signed


def told(chain: Path | str, key: Path | str) -> Config:
    return load(Settings.load(), {"FORGELOG_ROUTER_CERT": str(chain), "FORGELOG_ROUTER_KEY": str(key)})


def refused(chain: Path | str, key: Path | str) -> str:
    with pytest.raises(SettingsError) as error:
        read_certificate(told(chain, key))
    assert "PRIVATE KEY-" not in str(error.value)
    return str(error.value)


def test_a_good_pair_is_taken_also_with_words_before_it(tmp_path: Path) -> None:
    chain, key = signed(tmp_path)
    chain.write_text(f"# für localhost\n{chain.read_text()}")
    assert read_certificate(told(chain, key)) == (chain.read_text(), key.read_text())


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    chain, key = signed(tmp_path)
    said = f"FORGELOG_ROUTER_KEY: {tmp_path}/none can't be read: No such file or directory; give the PEM file of the"
    assert refused(chain, tmp_path / "none").startswith(said)
    assert refused(tmp_path, key).startswith(f"FORGELOG_ROUTER_CERT: {tmp_path} can't be read: Is a directory; ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_key_that_is_not_readable_for_the_router_is_named(tmp_path: Path) -> None:
    chain, key = signed(tmp_path)
    key.chmod(0)
    assert f"FORGELOG_ROUTER_KEY: {key} can't be read: Permission denied; " in refused(chain, key)


def test_a_path_counts_from_where_the_router_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = signed(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = told(chain.name, f"~/{key.name}")
    monkeypatch.chdir("/")  # as a router does, to its own folder
    assert read_certificate(config) is not None


def test_what_is_no_pem_file_and_what_is_the_other_is_told(tmp_path: Path) -> None:
    chain, key = signed(tmp_path)
    (tmp_path / "der").write_bytes(b"\x30\x82\xff\xfe")
    no_pem = " should be PEM, and has no CERTIFICATE; give the file of the certificate's chain"
    assert refused(tmp_path / "der", key) == f"FORGELOG_ROUTER_CERT: {tmp_path}/der{no_pem}"
    assert refused(key, chain) == f"FORGELOG_ROUTER_CERT: {key}{no_pem}"


def test_a_key_with_a_password_and_one_of_another_certificate_are_told_apart(tmp_path: Path) -> None:
    chain, _ = signed(tmp_path)
    _, closed = signed(tmp_path / "closed", password="geheim")
    said = refused(chain, closed)
    assert said.startswith(f"FORGELOG_ROUTER_KEY: {closed} has a password; give the key without one (openssl pkey ")
    _, other = signed(tmp_path / "other")
    assert f"the key in {other} is not the certificate's in {chain}; " in refused(chain, other)


def test_a_damaged_one_is_told(tmp_path: Path) -> None:
    chain, key = signed(tmp_path)
    chain.write_text(chain.read_text()[:200] + "\n-----END CERTIFICATE-----\n")
    assert "is damaged (" in refused(chain, key)


def test_one_that_clients_refuse_for_its_time_is_told(tmp_path: Path) -> None:
    def said(chain: Path, key: Path) -> str:
        config = told(chain, key)
        return outside_its_time(config, read_certificate(config))

    assert said(*signed(tmp_path)) == ""
    expired = said(*signed(tmp_path, days=-1, since=2))
    assert re.fullmatch(r"FORGELOG_ROUTER_CERT: .* expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC, so .* renew it", expired)
    assert "is not valid before" in said(*signed(tmp_path, since=-1, days=2))
    assert outside_its_time(told("", ""), None) == ""
