"""gRPC server reflection, in both of its versions: current tools ask for v1, older ones for v1alpha.

The two are the same messages in two packages. The library has v1alpha only, so v1 is served by its servicer, and
described by its own file with the package renamed. Knows no service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

ALPHA = reflection.SERVICE_NAME
V1 = ALPHA.replace(".v1alpha.", ".v1.")


def enable_reflection(names: Iterable[str], server: Any) -> None:
    """Let a `grpc.aio` server tell of these services, and of reflection itself."""
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer(  # type: ignore[attr-defined]
        [*names, V1, ALPHA]
    )
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": method}),))


def _describe_v1() -> None:
    """Add the file of v1 to those that reflection describes."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in filter(lambda field: field.type_name, message.field):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
