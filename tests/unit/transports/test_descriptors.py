"""Descriptors from files: what is found, and what each mistake says."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from gateway.errors import Delivery, InvalidCallError
from gateway.outcome import Failure
from gateway.service import GrpcEndpoint
from workers.transports.descriptors import DescriptorError, Library, load_files

ROOT = Path(__file__).resolve().parents[3]
PROTO = "goodgo/user/v1/user.proto"


def endpoint(**source: object) -> GrpcEndpoint:
    return GrpcEndpoint(target="127.0.0.1:1", **source)  # type: ignore[arg-type]


async def test_protos_are_compiled() -> None:
    descriptors = load_files(endpoint(protos=[PROTO]), ROOT)
    unary = await descriptors.method("goodgo.user.v1.UserService/GetUser", ())
    stream = await descriptors.method("goodgo.user.v1.UserService/StreamUserUpdates", ())
    assert not isinstance(unary, Failure)
    assert not isinstance(stream, Failure)
    assert (unary.client_streaming, unary.server_streaming, unary.idempotent) == (False, False, True)
    assert (stream.client_streaming, stream.server_streaming) == (False, True)
    assert unary.path == "/goodgo.user.v1.UserService/GetUser"
    assert unary.request.DESCRIPTOR.full_name == "goodgo.user.v1.GetUserRequest"
    assert repr(descriptors) == "<FileDescriptors goodgo.user.v1.UserService>"


async def test_two_services_may_describe_one_name_differently(tmp_path: Path) -> None:
    text = 'syntax = "proto3"; package goodgo.user.v1; service UserService { rpc GetUser(Q) returns (Q); } message Q {}'
    (tmp_path / "user.proto").write_text(text)
    theirs = await load_files(endpoint(protos=["user.proto"]), tmp_path).method(
        "goodgo.user.v1.UserService/GetUser", ()
    )
    ours = await load_files(endpoint(protos=[PROTO]), ROOT).method("goodgo.user.v1.UserService/GetUser", ())
    assert not isinstance(theirs, Failure)
    assert not isinstance(ours, Failure)
    assert theirs.request.DESCRIPTOR.full_name != ours.request.DESCRIPTOR.full_name
    assert theirs.idempotent is None


def test_well_known_types_need_no_include(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text(
        'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A { google.protobuf.Timestamp at = 1; }'
    )
    load_files(endpoint(protos=["a.proto"]), tmp_path)


def test_a_set_may_leave_well_known_types_out() -> None:
    file = FileDescriptorProto(name="a.proto", dependency=["google/protobuf/timestamp.proto"])
    Library([file])


@pytest.mark.parametrize(
    ("method", "cure"),
    [
        ("goodgo.user.v1.UserService/GetUsr", "did you mean goodgo.user.v1.UserService/GetUser?"),
        ("goodgo.user.UserService/GetUser", "did you mean goodgo.user.v1.UserService?"),
        ("x.Y/Z", "use one of goodgo.user.v1.UserService"),
    ],
)
async def test_an_unknown_method_says_what_there_is(method: str, cure: str) -> None:
    failure = await load_files(endpoint(protos=[PROTO]), ROOT).method(method, ())
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery) == (InvalidCallError, Delivery.NOT_SENT)
    assert failure.extra == {"field": "method", "cure": cure}


def test_a_proto_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"grpc.protos: no.proto is in none of .*set grpc.include"):
        load_files(endpoint(protos=["no.proto"]), tmp_path)


def test_a_proto_with_a_mistake_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text('syntax = "proto3";\n\nmessage A { strin name = 1; }\n')
    with pytest.raises(DescriptorError, match=r'bad.proto:3:\d+: "strin" is not defined'):
        load_files(endpoint(protos=["bad.proto"]), tmp_path)


def test_a_descriptor_set_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"no.binpb: No such file or directory; correct the path"):
        load_files(endpoint(descriptor_set="no.binpb"), tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xff", b"hello", b""])
def test_a_descriptor_set_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.binpb").write_bytes(content)
    with pytest.raises(DescriptorError, match=r"x.binpb (is not a FileDescriptorSet|has no files)"):
        load_files(endpoint(descriptor_set="x.binpb"), tmp_path)


def test_a_descriptor_set_without_its_imports(tmp_path: Path) -> None:
    files = FileDescriptorSet(file=[FileDescriptorProto(name="a.proto", dependency=["b.proto"])])
    (tmp_path / "x.binpb").write_bytes(files.SerializeToString())
    with pytest.raises(DescriptorError, match=r"a.proto imports b.proto, .*--include_imports"):
        load_files(endpoint(descriptor_set="x.binpb"), tmp_path)


def test_files_that_contradict_each_other() -> None:
    files = [FileDescriptorProto(name=name, package="p") for name in ("a.proto", "b.proto")]
    for file in files:
        file.message_type.add(name="Same")
    with pytest.raises(DescriptorError, match=r"b.proto: .*; compile all files"):
        Library(files)
