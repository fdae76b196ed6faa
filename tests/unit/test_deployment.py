"""The files that put the gateway somewhere: read, and held against the code and against each other."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.catalogue import Catalogue
from workers.pool.drain import STORE_GRACE_S

ROOT = Path(__file__).resolve().parents[2]
SECRET_NAMES = re.compile(r"KEY|AUTH|PASSWORD|SECRET|TOKEN")
# Names that somebody else sets: an orchestrator, or the image.
FOREIGN = {"HOSTNAME", "PATH", "RABBITMQ_DEFAULT_PASS", "RABBITMQ_DEFAULT_USER"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


COMPOSE: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def env_example() -> dict[str, str]:
    lines = [line for line in text(".env.example").splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def procfile() -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text("Procfile").splitlines())


def modules_of(argv: list[str]) -> list[str]:
    """The modules that a command runs."""
    found = [argv[at + 1] for at, word in enumerate(argv[:-1]) if word in ("-m", "-A")]
    return [*found, "gateway.cli"] if argv[0] == "gateway" else found


def interpolated(document: str) -> set[str]:
    """Names that Compose or a shell takes from the environment; `$$` is an escape of Compose's."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", document))


def test_compose_has_what_a_call_needs() -> None:
    assert set(SERVICES) == {"redis", "rabbitmq", "worker", "flower", "user-service"}
    # Unless it is asked for, Redis carries the calls.
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["rabbitmq"]
    assert all(
        "${COMPOSE_BROKER_URL:-redis://redis:" in SERVICES[name]["environment"]["GATEWAY_BROKER_URL"]
        for name in ("worker", "flower")
    )


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_healthcheck_and_who_depends_waits_for_it(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        optional = {"required": False} if "profiles" in SERVICES[other] else {}
        assert condition == {"condition": "service_healthy", **optional}, f"{name} → {other}"


def test_worker_and_flower_wait_for_what_they_use() -> None:
    assert set(SERVICES["worker"]["depends_on"]) == {"redis", "rabbitmq", "user-service"}
    assert set(SERVICES["flower"]["depends_on"]) >= {"redis", "rabbitmq"}


def test_a_stop_has_the_time_that_calls_take() -> None:
    services = Catalogue.load(ROOT / "gateway.toml").services.values()
    longest_s = max(service.policy.timeouts.total for service in services)
    granted_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert granted_s >= longest_s + STORE_GRACE_S + 5


def test_rabbitmq_keeps_calls() -> None:
    rabbitmq = SERVICES["rabbitmq"]
    (volume,) = rabbitmq["volumes"]
    name, _, target = volume.partition(":")
    assert target == "/var/lib/rabbitmq"
    assert name in COMPOSE["volumes"]
    assert rabbitmq["hostname"], "its data lies below its name, which a container changes otherwise"
    assert "ports" not in rabbitmq


def test_redis_keeps_calls() -> None:
    redis = SERVICES["redis"]
    flags = " ".join(redis["command"])
    assert "--maxmemory-policy noeviction" in flags
    assert "--appendonly yes" in flags
    (volume,) = redis["volumes"]
    name, _, target = volume.partition(":")
    assert target == "/data"
    assert name in COMPOSE["volumes"], "a named volume outlives the container"
    assert "ports" not in redis


def test_only_flower_is_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["flower"]
    assert all(port.startswith("127.0.0.1:") for port in published["flower"])


def test_flower_demands_a_login() -> None:
    environment = SERVICES["flower"]["environment"]
    assert environment["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")
    assert "FLOWER_UNAUTHENTICATED_API" not in environment


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_compose_has_no_secret() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET_NAMES.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), f"{name}.{variable} is written down"
    assert not re.search(r"://[^/\s]*:[^/\s@]+@", text("docker-compose.yml")), "a URL has a password"


def test_env_example_has_no_secret_and_explains_every_variable() -> None:
    for name, value in env_example().items():
        if SECRET_NAMES.search(name):
            assert value == "", f"{name} has a value"
    lines = text(".env.example").splitlines()
    groups = "\n".join(lines).split("\n\n")
    for group in groups:
        if re.search(r"^[A-Z_]+=", group, re.MULTILINE):
            assert group.startswith("#"), f"nothing explains {group!r}"


def test_every_variable_is_in_env_example() -> None:
    compose = interpolated(text("docker-compose.yml"))
    in_containers = {name for service in SERVICES.values() for name in service.get("environment", {})}
    in_procfile = interpolated(text("Procfile"))
    catalogue = set(re.findall(r"\$\{([A-Z_]+)|env:([A-Z_]+)", repr(tomllib.loads(text("gateway.toml")))))
    named = {name for pair in catalogue for name in pair if name}
    of_flower = set(re.findall(r'"(FLOWER_[A-Z_]+)"', text("flowerconfig.py")))
    of_settings = set(re.findall(r'"(GATEWAY_[A-Z_]+)"', text("gateway/settings.py")))
    used = compose | in_containers | in_procfile | named | of_flower | of_settings
    assert len(used) > 15, "the patterns above do not match any more"
    missing = sorted(used - set(env_example()) - FOREIGN)
    assert not missing, f".env.example does not have {missing}"


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_modules_that_exist(name: str) -> None:
    modules = modules_of([str(word) for word in SERVICES[name]["command"]])
    assert modules
    for module in modules:
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("name", procfile())
def test_the_procfile_runs_modules_that_exist(name: str) -> None:
    argv = shlex.split(procfile()[name])
    assert argv[0] == "exec", "else a shell is between Honcho and the process, and swallows its signals"
    modules = modules_of(argv[1:])
    assert modules
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_procfile_and_compose_run_the_same() -> None:
    assert set(procfile()) == {"service", "worker", "flower"}


def test_the_catalogues_hold() -> None:
    for path in (ROOT / "gateway.toml", ROOT / "examples" / "gateway.toml"):
        catalogue = Catalogue.load(path)
        assert not catalogue.written_urls, "addresses belong into the environment"
    environ = {
        **env_example(),
        **{name: str(value) for name, value in SERVICES["worker"]["environment"].items()},
    }
    service = Catalogue.load(ROOT / "gateway.toml", environ).services["user-service"]
    assert service.rest is not None
    assert service.network.everything_private, "what a name stands for in compose is private"


def test_the_image_has_what_its_commands_need() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", text("Dockerfile"), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert names >= {"gateway", "workers", "protos", "examples", "gateway.toml", "flowerconfig.py", "constraints.txt"}
    sent = {line.strip("!/") for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert names <= sent, "the builder is not sent it"
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_image_is_lean_and_not_root() -> None:
    dockerfile = text("Dockerfile")
    stages = dockerfile.split("\nFROM ")
    assert len(stages) == 3, "what builds is not what runs"
    last = stages[-1]
    assert re.search(r"^USER \d+$", last, re.MULTILINE)
    assert "pip install" not in last
    assert "apt-get" not in dockerfile, "no compiler is installed"
    assert "-c constraints.txt" in dockerfile
    assert "ARG PYTHON=3.13" in dockerfile


def pins() -> dict[str, str]:
    return dict(line.split("==") for line in text("constraints.txt").splitlines())


def test_constraints_are_plain_pins() -> None:
    for line in text("constraints.txt").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!+]*", line), line


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in map(Requirement, (line for group in groups for line in group)):
        name = canonicalize_name(requirement.name)
        if name != canonicalize_name(project["name"]):
            assert name in pinned, f"{name} is not in constraints.txt"
            assert requirement.specifier.contains(pinned[name]), (
                f"{name}=={pinned[name]} is not {requirement.specifier}"
            )


def test_ci_runs_what_everybody_runs() -> None:
    script = text(".ci/run")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111, "it is executable"
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    assert "make test" in script


def test_what_the_tests_run_is_installed_and_not_started() -> None:
    script = text(".ci/servers")
    assert (ROOT / ".ci" / "servers").stat().st_mode & 0o111, "it is executable"
    for package in ("rabbitmq-server", "redis-server", "faketime", "nftables", "iproute2", "strace"):
        assert f"]={package}" in script
    assert "policy-rc.d" in script


def test_make_has_its_targets() -> None:
    makefile = text("Makefile")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert targets >= {"demo", "dev", "test", "check", "format", "clean", "faults", "soak"}
    assert re.search(r"^test: .*\bservers$", makefile, re.MULTILINE), "the tests get the servers that they start"
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports", "pytest"):
        assert tool in makefile
    for stamp in ("demo", "dev"):
        assert f"$(VENV)/.installed-{stamp}: pyproject.toml constraints.txt" in makefile
