"""Given a gateway's address as people write it, then it is called so, with TLS if it says that."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from events.process.front_door import (
    CA,
    CertificateProblem,
    authority_of,
    ca_file,
    context,
    has_tls,
    leads_to,
    normalized,
    trusted,
    url_of,
)
from events.process.settings import Settings, SettingsError
from tests.certificates import signed


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(("FORGELOG_", "SSL_CERT_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("http://a.example:80/", "a.example:80"),
        ("https://a.example:7443/", "https://a.example:7443"),
        ("https://a.example", "https://a.example:443"),
        ("https://A.Example", "https://a.example:443"),
        ("[::1]:7070", "[::1]:7070"),
        ("https://[::1]", "https://[::1]:443"),
    ],
)
def test_an_address_has_one_form(written: str, address: str) -> None:
    assert normalized(written) == normalized(address) == address
    assert normalized(url_of(address)) == address
    assert url_of(address) == ("" if has_tls(address) else "http://") + address
    assert authority_of(address) in written.lower() + ":443"


@pytest.mark.parametrize("written", ["", "a", "http://a", "ftp://a:1", "https://u:p@a", "https://a/b", "a:70000", "a:"])
def test_what_is_no_address_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port, or https://host") as caught:
        normalized(written)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        ("https://a.example/x?y=https://b", True),
        ("https://a.example:443/x", True),
        ("http://a.example:443/x", False),
        ("https://a.example:444/x", False),
        ("https://b.example/a.example", False),
        ("https://a.example@b.example/", False),
        ("https://[a.example/", False),
    ],
)
def test_a_key_goes_by_tls_only_to_a_gateway_that_has_it(url: str, leads: bool) -> None:
    assert leads_to(url, "https://a.example:443") is leads


def test_a_gateway_itself_is_told_host_and_port() -> None:
    assert Settings(gateway="[::1]:7070").gateway_listens == ("::1", 7070)
    with pytest.raises(SettingsError, match="FORGELOG_GATEWAY: a gateway speaks no TLS itself; give host:port"):
        Settings(gateway="https://a.example").gateway_listens  # noqa: B018


# Whose certificates are good


def test_those_of_a_named_file_are_good_and_no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert trusted() is None
    own, _ = signed(tmp_path / "own")
    other, _ = signed(tmp_path / "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert trusted() == other.read_bytes()
    monkeypatch.setenv(CA, str(own))
    assert trusted() == own.read_bytes()
    (known,) = context().get_ca_certs(binary_form=True)
    assert ssl.DER_cert_to_PEM_cert(known) == own.read_text()


def test_those_of_a_named_folder_are_good_beside_those_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, _ = signed(tmp_path / "file")
    folders = [signed(tmp_path / name)[0].parent for name in ("folder", "another")]  # with the keys in them
    (folders[0] / "dangling").symlink_to("nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", str(folders[0]))
    assert len(context().get_ca_certs()) == 1
    monkeypatch.setenv("SSL_CERT_DIR", ":".join(map(str, folders)))
    assert len(context().get_ca_certs()) == 2
    assert b"PRIVATE" not in (trusted() or b"")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert len(context().get_ca_certs()) == 3


def test_a_folder_without_any_is_named_by_its_own_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(signed(tmp_path / "file")[0]))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with pytest.raises(CertificateProblem, match=f"SSL_CERT_DIR: {tmp_path}/none has no PEM certificate"):
        trusted()


def test_the_file_is_told_to_others_as_a_whole_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ca_file() == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", "~/all.pem")
    assert ca_file() == str(tmp_path / "all.pem")
    monkeypatch.chdir(tmp_path)
    assert ca_file({CA: "own.pem", "SSL_CERT_FILE": "all.pem"}) == str(tmp_path / "own.pem")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't be read: No such file"),
        ("no PEM", "has no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "has no PEM certificate"),
    ],
)
def test_a_file_without_a_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(CA, str(file))
    with pytest.raises(CertificateProblem, match=f"{CA}: {file} {why}.*; give the PEM file of who signed"):
        trusted()
