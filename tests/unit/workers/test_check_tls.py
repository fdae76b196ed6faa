"""What a worker says of certificate files before it starts."""

from pathlib import Path

import msgspec
import pytest

from gateway import Catalogue
from gateway.tls import Tls
from tests.servers.authority import PemFiles
from workers.check import problems
from workers.connections import Connections
from workers.transports.tls import CertificateError


def catalogue(tls: Tls) -> Catalogue:
    service = {
        "rest": {"url": "https://users.example.com"},
        "graphql": {"url": "https://users.example.com/graphql"},
        "grpc": {"target": "users.example.com:443", "tls": True, "reflection": True},
        "tls": {name: value for name, value in msgspec.structs.asdict(tls).items() if value is not None},
    }
    return Catalogue.parse({"services": {"users": service}}, environ={})


async def test_files_that_can_be_used(tmp_path: Path) -> None:
    files = PemFiles(tmp_path)
    found = catalogue(files.table(shows=files.other))
    assert list(problems(found, {})) == []
    await Connections(found).close()


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_file_that_is_not_there_is_named_once(tmp_path: Path, missing: str) -> None:
    files = PemFiles(tmp_path)
    found = catalogue(files.table(shows=files.other))
    (tmp_path / f"{missing}.pem").unlink()
    ((key, said),) = problems(found, {})
    assert key == "services.users.tls"
    assert said.startswith(f"file:{tmp_path}/{missing}.pem: cannot be read (FileNotFoundError); ")
    with pytest.raises(CertificateError, match="cannot be read"):
        Connections(found)


@pytest.mark.parametrize("only", ["rest", "graphql", "grpc"])
def test_a_worker_does_not_start_with_a_wrong_pair(tmp_path: Path, only: str) -> None:
    files = PemFiles(tmp_path)
    found = catalogue(files.table(shows=files.other))
    files.write("key.pem", files.other.issue_cert("x.example").private_key_pem.bytes())
    none = {"rest": None, "graphql": None, "grpc": None}
    del none[only]
    service = msgspec.structs.replace(found.services["users"], **none)
    with pytest.raises(CertificateError, match="does not belong to"):
        Connections(msgspec.structs.replace(found, services={"users": service}))
