"""`forgelog_pb/summaries.py`: what each query answers, in a sentence: the first of its rpc's comment.

The descriptors of the generated code have no comments, so they are kept in a table beside it. The gateway's OpenAPI
document has its summaries from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto

_SERVICE, _METHOD = FileDescriptorProto.SERVICE_FIELD_NUMBER, ServiceDescriptorProto.METHOD_FIELD_NUMBER
"""Parts of a place in a file, as its source info counts them: field numbers of descriptors, and indices."""

_SENTENCE = re.compile(r".*?\.(?= |$)")

_HEAD = '''\
"""Query, such as ``forgelog.jobs.v1.JobQueries.GetJob`` → what it answers, in a sentence."""

SUMMARIES: dict[str, str] = {
'''


def render(described: bytes) -> str:
    """The module, from what protoc writes of files with their comments (`--descriptor_set_out`)."""
    files = FileDescriptorSet.FromString(described).file
    found = dict(sorted(each for file in files for each in _summaries(file)))
    return _HEAD + "".join(f"    {name!r}: {summary!r},\n" for name, summary in found.items()) + "}\n"


def first_sentence(comment: str) -> str:
    """Up to the first full stop that ends a word; the whole comment if there is none. On one line."""
    text = " ".join(comment.split())
    found = _SENTENCE.match(text)
    return found[0] if found else text


def _summaries(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for place in file.source_code_info.location:
        if len(place.path) == 4 and (place.path[0], place.path[2]) == (_SERVICE, _METHOD) and place.leading_comments:
            service = file.service[place.path[1]]
            name = f"{file.package}.{service.name}.{service.method[place.path[3]].name}"
            yield name, first_sentence(place.leading_comments)
