"""What a service's gRPC methods look like: from `.proto` files, from a descriptor set, or from the service itself."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodOptions
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.errors import Delivery, InvalidCallError
from gateway.outcome import Failure
from gateway.service import GrpcEndpoint

__all__ = [
    "DescriptorError",
    "Descriptors",
    "FileDescriptors",
    "Library",
    "Metadata",
    "Method",
    "load_files",
    "no_service",
]

#: Request metadata, in the order it is sent; bytes for a `-bin` name.
Metadata = Sequence[tuple[str, str | bytes]]

_WELL_KNOWN = "google/protobuf/"
_PROTOC_LIMIT_S = 60.0


class DescriptorError(ValueError):
    """The files that describe a service cannot be used; says which, where, and the cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service.

    Attributes:
        full_name: `"package.Service/Method"`.
        request, reply: classes of its messages.
        client_streaming, server_streaming: whether that side sends a stream.
        idempotent: True where the option `idempotency_level` says so; None where it says nothing.
        pool: holds every type that its messages may refer to.
    """

    full_name: str
    request: type[Message]
    reply: type[Message]
    client_streaming: bool
    server_streaming: bool
    idempotent: bool | None
    pool: DescriptorPool

    @property
    def path(self) -> str:
        """Its `:path` on the wire."""
        return f"/{self.full_name}"


class Descriptors(Protocol):
    """A source of methods."""

    async def method(self, full_name: str, metadata: Metadata) -> Method | Failure:
        """The method of that name.

        Args:
            full_name: `"package.Service/Method"`.
            metadata: goes with the request if the service itself has to be asked.

        Returns:
            A failure, never sent, where there is no such method or nobody could be asked.
        """
        ...

    async def close(self) -> None:
        """Give up what is under way."""
        ...


class Library:
    """The services of a set of files, in a descriptor pool of their own.

    Two services may describe one type name differently, so nothing goes into protobuf's default pool.

    Args:
        files: in any order; Google's well-known types may be left out.

    Raises:
        DescriptorError: a file imports one that is not there, or contradicts another.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.pool = DescriptorPool()
        self._files = {file.name: file for file in files}
        self._added: set[str] = set()
        for name in list(self._files):
            self._add(name)
        self.services = tuple(
            f"{file.package}.{service.name}" if file.package else service.name
            for file in self._files.values()
            for service in file.service
        )
        self._methods: dict[str, Method] = {}

    def _add(self, name: str, importer: str | None = None) -> None:
        if name in self._added:
            return
        self._added.add(name)
        file = self._files.get(name) or _well_known(name)
        if file is None:
            raise DescriptorError(f"{importer} imports {name}, which is not there; add it (protoc: --include_imports)")
        for dependency in file.dependency:
            self._add(dependency, importer=name)
        try:
            self.pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            raise DescriptorError(f"{name}: {error}; compile all files of the service together") from error

    def method(self, full_name: str) -> Method | Failure:
        """The method of that name, or why there is none and what there is."""
        known = self._methods.get(full_name)
        if known is not None:
            return known
        service_name, _, method_name = full_name.partition("/")
        try:
            service = self.pool.FindServiceByName(service_name)
        except KeyError:
            return no_service(service_name, self.services)
        descriptor = service.methods_by_name.get(method_name)
        if descriptor is None:
            names = [f"{service_name}/{name}" for name in service.methods_by_name]
            return _invalid(
                f"{service_name} has no method {method_name!r}",
                _instead(full_name, names, nothing=f"{service_name} has no methods at all"),
            )
        method = self._methods[full_name] = _describe(descriptor, full_name, self.pool)
        return method


class FileDescriptors:
    """Methods from files, read once."""

    def __init__(self, library: Library) -> None:
        self.library = library

    async def method(self, full_name: str, metadata: Metadata) -> Method | Failure:
        """The method of that name; nobody has to be asked."""
        return self.library.method(full_name)

    async def close(self) -> None:
        """Nothing is under way."""

    def __repr__(self) -> str:
        return f"<FileDescriptors {', '.join(self.library.services) or 'of no service'}>"


def load_files(endpoint: GrpcEndpoint, root: Path) -> FileDescriptors:
    """The methods of an endpoint that names `protos` or a `descriptor_set`.

    Takes about 0.2 s for `protos`, which a protoc of its own process compiles.

    Args:
        endpoint: where the files are.
        root: folder of the catalogue file, which relative paths start from.

    Raises:
        DescriptorError: a file is missing or wrong; names file, line and cure.
    """
    if endpoint.descriptor_set is not None:
        return FileDescriptors(_read_set(root / endpoint.descriptor_set, endpoint.descriptor_set))
    folders = [root / folder for folder in endpoint.include]
    for name in endpoint.protos:
        if not any((folder / name).is_file() for folder in folders):
            looked = ", ".join(str(folder) for folder in folders)
            raise DescriptorError(f"grpc.protos: {name} is in none of {looked}; correct it, or set grpc.include")
    with tempfile.TemporaryDirectory(prefix="gateway-protos-") as scratch:
        compiled = Path(scratch) / "protos.binpb"
        _compile(endpoint.protos, [folder for folder in folders if folder.is_dir()], compiled)
        return FileDescriptors(_read_set(compiled, "grpc.protos"))


def _compile(protos: Sequence[str], folders: Sequence[Path], into: Path) -> None:
    """Run protoc in a process of its own: it writes its errors to file descriptor 2 and knows no other way."""
    arguments = [*(f"-I{folder}" for folder in folders), "--include_imports", f"--descriptor_set_out={into}", *protos]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-m", "grpc_tools.protoc", *arguments],
            capture_output=True,
            text=True,
            timeout=_PROTOC_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DescriptorError(
            f"grpc.protos: protoc took more than {_PROTOC_LIMIT_S:g} s; use a descriptor_set"
        ) from error
    if done.returncode != 0:
        said = "; ".join(line for line in done.stderr.splitlines() if "warning:" not in line.lower())
        if "No module named" in said:
            raise DescriptorError("grpc.protos: grpcio-tools is not installed; install it, or use a descriptor_set")
        raise DescriptorError(f"grpc.protos: {said}; correct it there")


def _read_set(path: Path, shown: str) -> Library:
    try:
        files = FileDescriptorSet.FromString(path.read_bytes()).file
    except OSError as error:
        raise DescriptorError(f"grpc.descriptor_set: {shown}: {error.strerror}; correct the path") from error
    except DecodeError as error:
        raise DescriptorError(
            f"grpc.descriptor_set: {shown} is not a FileDescriptorSet; "
            "build it with protoc --include_imports --descriptor_set_out"
        ) from error
    if not files:
        raise DescriptorError(f"grpc.descriptor_set: {shown} has no files; build it from the service's .proto files")
    return Library(files)


def _well_known(name: str) -> FileDescriptorProto | None:
    """One of Google's own files, which every protobuf library carries and so few sets and servers include."""
    if not name.startswith(_WELL_KNOWN) or not name.endswith(".proto"):
        return None
    module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
    if not module.replace(".", "_").isidentifier():
        return None
    try:
        serialized = import_module(module).DESCRIPTOR.serialized_pb
    except (ImportError, AttributeError):
        return None
    return FileDescriptorProto.FromString(serialized)


_IDEMPOTENT: Mapping[int, bool] = {MethodOptions.NO_SIDE_EFFECTS: True, MethodOptions.IDEMPOTENT: True}


def _describe(descriptor: MethodDescriptor, full_name: str, pool: DescriptorPool) -> Method:
    # Through its bytes: the pool's own options class is another one than the generated one.
    options = MethodOptions.FromString(descriptor.GetOptions().SerializeToString())
    return Method(
        full_name=full_name,
        request=GetMessageClass(descriptor.input_type),
        reply=GetMessageClass(descriptor.output_type),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
        idempotent=_IDEMPOTENT.get(options.idempotency_level),
        pool=pool,
    )


def no_service(name: str, known: Sequence[str]) -> Failure:
    """The failure of a call to a service that nobody described."""
    return _invalid(f"there is no service {name!r}", _instead(name, known, nothing="no service is described at all"))


def _instead(wanted: str, known: Sequence[str], *, nothing: str) -> str:
    if not known:
        return nothing
    close = get_close_matches(wanted, known, n=1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(sorted(known)[:20])}"


def _invalid(why: str, cure: str) -> Failure:
    return Failure(
        error=InvalidCallError,
        message=f"method: {why}; {cure}",
        delivery=Delivery.NOT_SENT,
        extra={"field": "method", "cure": cure},
        repeatable=False,
    )
