"""Ports: given who has which, then these are given out; and a server that is given one has it alone."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc.aio
import pytest

from events.language.contexts import contexts
from events.process.channels import server_options
from events.process.settings import Settings
from forgelog.embedded import ports
from forgelog.embedded.layout import Folder, Server, Wanted
from forgelog.embedded.ports import free_port, hold, is_free, lasting_ports
from forgelog.embedded.process import EmbeddedError
from forgelog.embedded.roster import GATEWAY, Roster
from tests import PATIENCE
from tests.squatter import squatter

TAKES = "from forgelog.embedded.ports import free_port; print(free_port({}), flush=True); input()"
HOLDS = "from forgelog.embedded.ports import hold; hold({0}); print({0}, flush=True); input()"


@contextmanager
def others(code: str, count: int = 1) -> Iterator[list[int]]:
    """Other processes, all begun before the first has said anything; what they say."""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        yield [int(process.stdout.readline()) for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate("\n")


def unused() -> int:
    """A port that nobody has, and that this process does not hold."""
    while True:
        port = random.choice(lasting_ports())
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as holder, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            holder.bind(("127.0.0.1", port))
            return port


def test_a_free_port_is_none_that_a_connection_may_take_while_its_server_is_down() -> None:
    assert all(free_port() in lasting_ports() for _ in range(20))


def test_a_taken_port_is_avoided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken
    assert free_port(taken, avoid=(taken,)) != taken


def test_no_port_is_given_out_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200


def test_whoever_wants_one_port_at_the_same_time_gets_ports_of_their_own() -> None:
    wanted = unused()
    with others(TAKES.format(wanted), 8) as ports:
        assert len(set(ports)) == 8
        assert wanted in ports


def test_a_port_is_kept_while_nobody_listens_on_it_and_given_back_with_the_process() -> None:
    wanted = unused()
    with others(TAKES.format(wanted)) as (taken,):
        assert taken == wanted
        assert free_port(wanted) != wanted
    assert free_port(wanted) == wanted
    assert free_port(wanted) == wanted  # our server is started anew


def test_a_port_that_a_server_of_an_earlier_process_has_can_be_held() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with others(HOLDS.format(port)):
            server.close()  # it ends, and is to be started anew
            assert free_port(port) != port
    with others(HOLDS.format(port)):
        assert not hold(port)


def test_a_port_that_somebody_just_looks_at_is_held_once_they_are_done() -> None:
    port = unused()
    looking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    looking.bind(("127.0.0.1", port))
    done = threading.Timer(0.1, looking.close)
    done.start()
    assert hold(port)
    done.join()


def test_a_held_port_stays_held_when_its_server_is_found_running() -> None:
    with socket.create_server(("127.0.0.1", unused())) as server:
        port = server.getsockname()[1]
        assert hold(port)
        assert not is_free(port)
        assert free_port(port) != port
    with others(TAKES.format(port)) as (taken,):
        assert taken != port
    assert is_free(port)


def test_to_ask_whether_a_port_is_free_does_not_take_it() -> None:
    port = unused()
    assert is_free(port)
    with others(TAKES.format(port)) as (taken,):
        assert taken == port
        assert not is_free(port)


def test_services_draw_no_port_of_a_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "data")
    folder.make()
    broker, controller = unused(), unused()
    (folder.path / "kafka" / "ports.json").write_text(json.dumps({"broker": broker, "controller": controller}))
    folder.write_ports({"gateway": unused()})
    monkeypatch.setattr(ports.random.SystemRandom, "sample", lambda *_: [broker, controller, *lasting_ports()])
    Roster(folder, Settings.load(data=folder.path)).choose_ports(None)
    assert not {broker, controller} & set(folder.read_ports().values())
    assert free_port(broker) == broker


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("name", ["kafka", "postgres", "jobs", "gateway"])
async def test_nobody_is_ready_whose_port_another_user_has_taken(tmp_path: Path, name: str) -> None:
    """A process that counts a server as ready sends it a password or a key."""
    folder = Folder(tmp_path / "data")
    folder.make()
    (folder.path / "postgres" / "data").mkdir(parents=True)
    wanted = Wanted(Server("embedded"), Server("embedded"))
    with squatter() as port:
        (folder.path / "kafka" / "ports.json").write_text(json.dumps({"broker": port, "controller": port}))
        (folder.path / "postgres" / "server.json").write_text(json.dumps({"port": port}))
        folder.write_ports(dict.fromkeys((*contexts(), GATEWAY), port))
        roster = Roster(folder, Settings.load(data=folder.path))
        plan = next(each for each in (*roster.servers(wanted), *roster.services(wanted)) if each.name == name)
        assert plan.probe is not None
        with pytest.raises(EmbeddedError, match=f"a program of nobody has taken its port, {port}"):
            await plan.probe()


def test_what_holds_a_port_takes_in_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *more: int) -> None:
            super().__init__(*more)
            made.append(self)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Noted)
        port = free_port()
    holder = next(each for each in made if each.type == socket.SOCK_DGRAM and each.fileno() >= 0)
    assert not os.get_inheritable(holder.fileno())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", port))
        stranger.settimeout(PATIENCE)
        stranger.send(b"anything")
        with pytest.raises(ConnectionRefusedError):
            stranger.recv(1)
    holder.setblocking(False)
    with pytest.raises(BlockingIOError):
        holder.recv(1)


async def test_two_grpc_servers_never_share_a_port() -> None:
    options = server_options(most_received=1, most_sent=1)
    first, second = grpc.aio.server(options=options), grpc.aio.server(options=options)
    port = first.add_insecure_port("127.0.0.1:0")
    await first.start()
    try:
        with pytest.raises(RuntimeError):
            second.add_insecure_port(f"127.0.0.1:{port}")
    finally:
        await first.stop(0)
        await second.stop(0)
