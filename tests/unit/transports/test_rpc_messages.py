"""Replies as JSON: what cannot be handed on."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from gateway.errors import Delivery, InvalidReplyError
from gateway.outcome import Failure
from workers.transports.descriptors import Library, Method
from workers.transports.rpc_messages import read_reply

_FILE = """
name: "tree.proto" package: "tree" syntax: "proto3" dependency: "google/protobuf/struct.proto"
message_type {
  name: "Node"
  field { name: "nodes" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".tree.Node" }
  field { name: "any" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Value" }
}
service { name: "Trees" method { name: "Get" input_type: ".tree.Node" output_type: ".tree.Node" } }
"""


@pytest.fixture
def method() -> Method:
    from google.protobuf import text_format

    found = Library([text_format.Parse(_FILE, FileDescriptorProto())]).method("tree.Trees/Get")
    assert isinstance(found, Method)
    return found


def nested(levels: int) -> bytes:
    """A node in a node, each of them two levels of JSON."""
    raw = b""
    for _ in range(levels):
        length = len(raw)
        prefix = bytes((length,)) if length < 128 else bytes((length & 0x7F | 0x80, length >> 7))
        raw = b"\x0a" + prefix + raw
    return raw


def test_as_deep_as_a_call_may_be(method: Method) -> None:
    assert not isinstance(read_reply(nested(49), method), Failure)


@pytest.mark.parametrize("levels", [50, 95, 1000])
def test_deeper(method: Method, levels: int) -> None:
    failure = read_reply(nested(levels), method)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery) == (InvalidReplyError, Delivery.ANSWERED)
    assert "tree.Node" in failure.message


@pytest.mark.parametrize(
    "value",
    [b"\x11\x00\x00\x00\x00\x00\x00\xf0\x7f", b"\x11\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x1a\x03\xed\xa0\x80"],
    ids=["infinity", "not a number", "half a surrogate pair"],
)
def test_what_json_does_not_have(method: Method, value: bytes) -> None:
    failure = read_reply(b"\x12" + bytes((len(value),)) + value, method)
    assert isinstance(failure, Failure)
    assert failure.error is InvalidReplyError
