"""A real gRPC server that demands a certificate of its callers."""

from pathlib import Path

import grpc
import pytest

from gateway.errors import Delivery, ServiceUnavailableError
from gateway.policy import Policy, Timeouts
from gateway.service import GrpcEndpoint, Service
from tests.conformance.grpc_calls import ROOT, STREAM, answered, failed, make_attempt
from tests.servers.authority import PemFiles
from tests.servers.grpc_faults import FaultyUsers
from workers.transports.rpc import GrpcTransport


@pytest.mark.parametrize("reflection", [False, True], ids=["protos", "reflection"])
@pytest.mark.parametrize("shows", ["ours", "another's", "nothing", "no TLS"])
async def test_who_is_let_in(tmp_path: Path, shows: str, reflection: bool) -> None:
    files = PemFiles(tmp_path)
    leaf = files.ours.issue_cert("users.internal")
    pair = leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=files.other.cert_pem.bytes(), require_client_auth=True
    )
    tls = files.table(
        shows={"ours": files.other, "another's": files.ours}.get(shows),
        server_name="users.internal",
    )
    async with FaultyUsers(tmp_path, credentials=credentials) as users:
        source = {"reflection": True} if reflection else {"protos": ["goodgo/user/v1/user.proto"]}
        endpoint = GrpcEndpoint(target=f"127.0.0.1:{users.port}", tls=shows != "no TLS", **source)
        policy = Policy(timeouts=Timeouts(attempt=2.0, connect=1.0))
        transport = GrpcTransport(Service(name="user-service", policy=policy, grpc=endpoint, tls=tls), ROOT)
        attempt = make_attempt("7")
        result = await transport.send(attempt)
        if shows == "ours":
            assert answered(result).data["user"]["id"] == "7"
            answered(await transport.send(make_attempt({"user_id": "8", "count": 2}, method=STREAM)))
            assert users.arrived == ["7", "8"]
        else:
            failed(result, ServiceUnavailableError, Delivery.NOT_SENT)
            assert attempt.wire.sent is None
            assert users.arrived == []
            assert users.reflections == []
        await transport.close()
