"""Optuna's own tests of a storage, through its own client and `OptunaProxy`: each test has a project of its own.

`test_optuna.py` runs this file in a process of its own, since it wants the pure-Python protobuf runtime: the C one
hands out the entries of a map in any order, so `test_get_all_trials_params_order` fails at random against any server.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from optuna.storages import GrpcStorageProxy
from optuna.testing.pytest_storages import StorageTestCase

from forgelog.where import find_gateway
from tests.clients.proxied import Loop, storage_of


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class TestForgelog(StorageTestCase):
    @pytest.fixture
    def storage(self, loop: Loop) -> Iterator[GrpcStorageProxy]:
        gateway = find_gateway()
        with storage_of(loop, gateway.address, gateway.key, f"optuna/{uuid.uuid4().hex}") as storage:
            yield storage


assert os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] == "python"
