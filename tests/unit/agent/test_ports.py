"""Given sockets that listen on a node, when ports are picked, then those of nobody."""

from __future__ import annotations

import socket

import pytest

from services.resources.agent.ports import NoPorts, is_free, own_address, pick


def listening(address: str = "127.0.0.1", family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    server = socket.socket(family)
    server.bind((address, 0))
    server.listen()
    return server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_anybody_listens_on_is_taken(address: str) -> None:
    with listening(address) as server:
        assert not is_free(port_of(server))
    assert is_free(port_of_closed := port_of_an_unused())
    assert port_of_closed


def port_of_an_unused() -> int:
    with listening() as server:
        return port_of(server)


def test_ports_of_others_are_passed_over() -> None:
    with listening() as server:
        port = port_of(server)
        ports = range(port - 1, port + 3)
        free = [each for each in ports if is_free(each)]
        assert port not in free
        assert set(pick(len(free), ports, ())) == set(free)
        assert set(pick(len(free) - 1, ports, free[:1])) == set(free[1:])


def test_too_few_free_ports_are_an_error_that_says_so() -> None:
    with listening() as server:
        port = port_of(server)
        with pytest.raises(NoPorts, match=f"needs 1 ports, and of {port}-{port} 0 are free.*FORGELOG_NODE_PORTS"):
            pick(1, range(port, port + 1), ())


def test_picks_begin_anywhere() -> None:
    ports = range(21_000, 22_000)
    assert len({tuple(pick(1, ports, ())) for _ in range(20)}) > 1


def test_a_service_without_ports_needs_none() -> None:
    assert pick(0, range(21_000, 21_001), ()) == []


@pytest.mark.parametrize("kafka", ["127.0.0.1:9092", "localhost:9092", "127.0.0.1:1,10.0.0.1:2"])
def test_beside_a_platform_on_loopback_tasks_are_called_there(kafka: str) -> None:
    assert own_address(kafka) == "127.0.0.1"
