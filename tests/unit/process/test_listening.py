"""Who listens on a port: known before anything secret goes there."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from events.process.listening import cannot_listen, listeners, stranger
from tests.squatter import NOBODY, squatter

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

LINES = """\
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 17 1 0 100 0 0 10 0
   2: 0200007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 19 1 0 100 0 0 10 0
  10: 00000000:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1003        0 20 1 0 100 0 0 10 0
  11: 00000000:1B9F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1004        0 21 1 0 100 0 0 10 0
  12: 0100007F:1B9E 0100007F:D2F0 01 00000000:00000000 02:000A 00000000  1001        0 18 2 0 20 4 30 10 -1
"""
WIDE = """\
   0: 0000000000000000FFFF00000100007F:1BA0 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1005  0 22 1 0 1
   1: 00000000000000000000000001000000:1BA1 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1006  0 23 1 0 1
   2: 00000000000000000000000000000000:1BA2 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1007  0 24 1 0 1
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the lines are those of such a machine")
@pytest.mark.parametrize(
    ("host", "port", "users"),
    [
        pytest.param("127.0.0.1", 7070, {1000}, id="at the address, whoever listens at another or at all"),
        pytest.param("127.0.0.2", 7070, {1002}, id="another address"),
        pytest.param("127.0.0.3", 7070, {1003}, id="at all addresses"),
        pytest.param("localhost", 7070, {1000}, id="by name"),
        pytest.param("127.0.0.1", 7071, {1004}, id="another port"),
        pytest.param("127.0.0.1", 7072, {1005}, id="IPv4 by an IPv6 socket, as Java does"),
        pytest.param("[::1]", 7073, {1006}, id="IPv6"),
        pytest.param("localhost", 7073, {1006}, id="IPv6 by name"),
        pytest.param("127.0.0.1", 7074, {1007}, id="at all addresses by an IPv6 socket"),
        pytest.param("127.0.0.1", 7075, set(), id="nobody"),
        pytest.param("10.0.0.1", 7071, set(), id="another machine, for all we know"),
        pytest.param("cluster.example", 7071, set(), id="a name"),
    ],
)
def test_the_kernels_tables_tell_whose_program_listens(tmp_path: Path, host: str, port: int, users: set[int]) -> None:
    (tmp_path / "tcp").write_text(HEAD + LINES)
    (tmp_path / "tcp6").write_text(HEAD + WIDE)
    assert listeners(host, port, (tmp_path / "tcp", tmp_path / "tcp6")) == users


def test_a_system_that_does_not_tell_has_nobody_suspected(tmp_path: Path) -> None:
    assert listeners("127.0.0.1", 7070, (tmp_path / "none",)) == set()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_our_own_program_is_no_stranger(family: socket.AddressFamily) -> None:
    with socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family) as server:
        host, port = server.getsockname()[:2]
        assert listeners(host, port) in ({os.geteuid()}, set())
        assert stranger(host, port) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_users_program_is_one_unless_it_is_expected() -> None:
    with squatter() as port:
        assert stranger("127.0.0.1", port) == "nobody"
        assert stranger("localhost", port) == "nobody"
        assert stranger("127.0.0.1", port, ours=[NOBODY]) == ""
    assert stranger("127.0.0.1", port) == ""


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 0, "has port 0"),
        ("models.example", 7080, "names a host; give an IP address of this machine"),
        ("203.0.113.7", 7080, "names an address that this machine does not have"),
        ("2001:db8::7", 7080, "names an address that this machine does not have"),
    ],
)
def test_where_nothing_can_listen_is_told_with_what_to_do(host: str, port: int, told: str) -> None:
    assert cannot_listen(host, port).startswith(told)


def test_a_port_of_another_program_is_told_and_one_that_is_shared_is_not() -> None:
    taken = "another program listens on its port; end that program, or give another port"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [cannot_listen(host, port, shared=True) for host in ("127.0.0.1", "localhost", "0.0.0.0")] == [taken] * 3
    assert cannot_listen("127.0.0.1", port) == ""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        port = server.getsockname()[1]
        assert [cannot_listen("127.0.0.1", port, shared=shared) for shared in (True, False)] == ["", taken]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_of_roots_is_told() -> None:
    assert "give one from 1024 on" in cannot_listen("127.0.0.1", 80)
