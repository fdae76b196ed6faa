"""What `gateway services` and `gateway doctor` say of the services of a catalogue."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.auth_scheme import AuthScheme
from gateway.catalogue import Catalogue
from gateway.checks.catalogue import check_catalogue, colliding, sent_unencrypted
from gateway.checks.clock import check_clock
from gateway.cli.doctor import doctor
from gateway.cli.services import services
from gateway.dev.process import free_port
from gateway.policy import Policy
from gateway.service import GraphQLEndpoint, GrpcEndpoint, RestEndpoint, Service

CATALOGUE = """
[services.user-service]
rest.url    = "${USER_SERVICE_URL}"
graphql.url = "${USER_SERVICE_GRAPHQL_URL}"
grpc        = { target = "${USER_SERVICE_GRPC_TARGET}", reflection = true }
auth        = { type = "service-key", secret = "env:INTERNAL_API_KEY" }
"""
ADDRESSES = {
    "USER_SERVICE_URL": "http://user-service.internal:5000",
    "USER_SERVICE_GRAPHQL_URL": "https://user-service.internal/graphql",
    "USER_SERVICE_GRPC_TARGET": "[2001:db8::1]:50051",
}


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(CATALOGUE)
    return str(path)


def test_services_fit_a_terminal(catalogue: str) -> None:
    shown = CliRunner(env={**ADDRESSES, "COLUMNS": "80"}).invoke(services, ["--config", catalogue])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    assert ["user-service", "rest", "http://user-service.internal:5000", "10/3/1/1"] in lines
    assert ["env:INTERNAL_API_KEY", "grpc", "[2001:db8::1]:50051"] in lines
    assert max(map(len, shown.output.splitlines())) <= 80
    assert "${" not in shown.output


def test_addresses_that_the_environment_does_not_have_are_shown_as_written(catalogue: str) -> None:
    some = {**ADDRESSES, "USER_SERVICE_URL": None}
    shown = CliRunner(env={**some, "COLUMNS": "80"}).invoke(services, ["--config", catalogue])
    assert shown.exit_code == 0, shown.output
    assert "rest ${USER_SERVICE_URL}" in shown.output


def test_a_catalogue_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[services.users]\n")
    shown = CliRunner().invoke(services, ["--config", str(path)])
    assert shown.exit_code == 1
    assert "has no endpoint" in shown.output


@pytest.mark.parametrize(
    ("endpoints", "keys"),
    [
        ({"rest": RestEndpoint(url="http://users:5000")}, ["rest.url"]),
        ({"rest": RestEndpoint(url="https://users:5000")}, []),
        ({"rest": RestEndpoint(url="HTTP://10.0.0.1")}, ["rest.url"]),
        ({"rest": RestEndpoint(url="http://localhost:5000")}, []),
        ({"rest": RestEndpoint(url="http://127.0.0.2:5000")}, []),
        ({"rest": RestEndpoint(url="http://[::1]:5000")}, []),
        ({"rest": RestEndpoint(url="http://localhost.example.com")}, ["rest.url"]),
        ({"graphql": GraphQLEndpoint(url="http://users/graphql")}, ["graphql.url"]),
        ({"grpc": GrpcEndpoint(target="users:50051")}, ["grpc.target"]),
        ({"grpc": GrpcEndpoint(target="users")}, ["grpc.target"]),
        ({"grpc": GrpcEndpoint(target="users:50051", tls=True)}, []),
        ({"grpc": GrpcEndpoint(target="dns:///users:50051")}, ["grpc.target"]),
        ({"grpc": GrpcEndpoint(target="dns://127.0.0.1/users:50051")}, ["grpc.target"]),
        ({"grpc": GrpcEndpoint(target="dns:///localhost:50051")}, []),
        ({"grpc": GrpcEndpoint(target="localhost:50051")}, []),
        ({"grpc": GrpcEndpoint(target="[::1]:50051")}, []),
        ({"grpc": GrpcEndpoint(target="ipv4:127.0.0.1:50051,10.0.0.1:50051")}, ["grpc.target"]),
        ({"grpc": GrpcEndpoint(target="ipv6:[::1]:50051")}, []),
        ({"grpc": GrpcEndpoint(target="unix:/run/users.sock")}, []),
        ({"rest": RestEndpoint(url="http://a"), "grpc": GrpcEndpoint(target="a:1")}, ["rest.url", "grpc.target"]),
    ],
)
def test_where_a_secret_goes_unencrypted(endpoints: dict[str, object], keys: list[str]) -> None:
    auth = AuthScheme(type="service-key", secret="env:KEY")
    service = Service(name="users", policy=Policy(), auth=auth, **endpoints)  # type: ignore[arg-type]
    assert [key for key, _ in sent_unencrypted(service)] == keys
    without = Service(name="users", policy=Policy(), **endpoints)  # type: ignore[arg-type]
    assert list(sent_unencrypted(without)) == []


def test_doctor_warns_of_it(catalogue: str) -> None:
    said = [str(finding) for finding in check_catalogue(Catalogue.load(catalogue, ADDRESSES))]
    assert "catalogue: services.user-service.rest.url sends its secret unencrypted; use https://" in said
    assert "catalogue: services.user-service.grpc.target sends its secret unencrypted; set grpc.tls = true" in said
    assert not any("graphql.url sends" in line for line in said)


def test_doctor_shows_what_is_in_brackets(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("services = 1\n")
    env = {"GATEWAY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0", "GATEWAY_CONFIG": str(path), "COLUMNS": "200"}
    assert "write [services]" in CliRunner(env=env).invoke(doctor).output


def test_doctor_names_a_collision_once_and_where_it_is() -> None:
    operations = {
        "GET /a": {},
        "GET /b": {"hedge": {"after": 2.0}, "timeouts": {"attempt": 1.5}},
        "POST /c": {"hedge": {"after": 0.1}, "idempotent": False},
        "POST /d": {"idempotent": False},
    }
    table = {"rest": {"url": "http://u"}, "retry": {"attempts": 5}, "hedge": {"after": 0.5}, "operations": operations}
    service = Catalogue.parse({"services": {"u": table}}).services["u"]
    found = list(colliding(service))
    assert [key for key, _ in found] == [
        "services.u",
        'services.u.operations."GET /b"',
        'services.u.operations."POST /c"',
    ]
    assert [said.split(" of ")[0].split(",")[0] for _, said in found] == ["5 attempts", "hedge.after", "hedge is on"]


def test_doctor_warns_of_collisions(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[services.users]\nrest.url = "http://users"\nretry = { budget = 0.0, budget_per_s = 0.0 }\n')
    env = {"GATEWAY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0", "GATEWAY_CONFIG": str(path), "COLUMNS": "200"}
    said = " ".join(CliRunner(env=env).invoke(doctor).output.split())
    assert (
        "warning │ catalogue │ services.users: retry.budget = 0 and retry.budget_per_s = 0 pay for no second attempt"
        in said
    )


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [(0.0, ""), (1.0, ""), (-1.0, ""), (1.1, "1.1 s behind the result store's"), (-61.0, "61.0 s ahead of the result")],
)
def test_a_clock_is_worth_a_word_from_a_second_on(ahead_s: float, said: str) -> None:
    findings = list(check_clock(ahead_s))
    assert len(findings) == bool(said)
    assert all(said in finding.found for finding in findings)
