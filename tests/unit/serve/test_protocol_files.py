"""Our files of the Open Inference Protocol say what those of Triton's client say: names, numbers, types."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

_DUMP = """
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
{imports}
found = FileDescriptorSet()
for module in (service, config):
    module.DESCRIPTOR.CopyToProto(found.file.add())
sys.stdout.buffer.write(found.SerializeToString())
"""
OURS = "from forgelog_pb.inference import grpc_service_pb2 as service, model_config_pb2 as config"
TRITONS = "from tritonclient.grpc import service_pb2 as service, model_config_pb2 as config"


def files(imports: str) -> FileDescriptorSet:
    """As a process of its own has them."""
    done = subprocess.run([sys.executable, "-c", _DUMP.format(imports=imports)], capture_output=True, check=True)
    return FileDescriptorSet.FromString(done.stdout)


@pytest.fixture(scope="module")
def both() -> tuple[FileDescriptorSet, FileDescriptorSet]:
    return files(OURS), files(TRITONS)


def fields(found: FileDescriptorSet) -> dict[str, Any]:
    """Full name → what the wire knows of it."""

    def of(messages: Any, above: str) -> Iterator[tuple[str, Any]]:
        for message in messages:
            path = f"{above}.{message.name}"
            yield path, None
            for field in message.field:
                yield f"{path}.{field.name}", (field.number, field.type, field.label, field.type_name)
            yield from of(message.nested_type, path)
            for enum in message.enum_type:
                yield f"{path}.{enum.name}", {value.name: value.number for value in enum.value}

    return dict(each for file in found.file for each in of(file.message_type, file.package))


def test_the_service_has_the_same_calls(both: tuple[FileDescriptorSet, FileDescriptorSet]) -> None:
    ours, tritons = (
        [
            (method.name, method.input_type, method.output_type, method.client_streaming, method.server_streaming)
            for file in found.file
            for service in file.service
            for method in service.method
        ]
        for found in both
    )
    assert ours == tritons


def test_every_field_of_ours_is_theirs(both: tuple[FileDescriptorSet, FileDescriptorSet]) -> None:
    ours, tritons = map(fields, both)
    assert {name: tritons.get(name, "none") for name in ours} == ours


def test_a_program_may_have_both() -> None:
    program = f"{TRITONS}\nfrom forgelog_pb.inference import grpc_service_pb2 as ours\n"
    program += "print(service.ModelInferRequest.FromString(ours.ModelInferRequest(id='7').SerializeToString()).id)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "7\n"


def test_only_parts_of_the_configuration_are_left_out(both: tuple[FileDescriptorSet, FileDescriptorSet]) -> None:
    ours, tritons = map(fields, both)
    config = {name for name in tritons if name.split(".")[1] in {m.name for m in both[1].file[1].message_type}}
    assert tritons.keys() - ours.keys() <= config
