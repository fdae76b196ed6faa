"""Mutation testing of the deciding code: break it in every small way, and see whether its tests notice.

    python bench/mutate.py                 all of it
    python bench/mutate.py breaker limit   only these files

Works on a copy in a temporary folder. Prints a table and every survivor. Fails when a survivor is not known to be
equivalent, which means that no test could tell it from the original.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent

#: Each file of deciding code, and the tests that must notice.
SUBJECTS = {
    "workers/deadline.py": ("tests/unit/workers/test_deadline.py", "tests/properties/test_deadline.py"),
    **{
        f"workers/resilience/{noun}.py": (f"tests/unit/resilience/test_{noun}.py", *properties)
        for noun, properties in {
            "adaptive": ("tests/properties/test_adaptive.py",),
            "backoff": ("tests/properties/test_backoff.py",),
            "breaker": ("tests/properties/test_breaker.py",),
            "budget": ("tests/properties/test_budget.py",),
            "health": (),
            "idempotency": (),
            "latency": (),
            "limit": ("tests/properties/test_limit.py",),
            "repetition": ("tests/properties/test_repetition.py",),
            "window": ("tests/properties/test_window.py",),
        }.items()
    },
}

#: Mutants that mean the same as the original: the line that they write, and why.
EQUIVALENT = {
    ("workers/resilience/adaptive.py", "self._peak = 1"): "at least one attempt is in flight when one ends",
    ("workers/resilience/breaker.py", "self._reason = None"): "no reason, as the empty one; only its truth is asked",
    ("workers/resilience/breaker.py", 'self._reason = "XXXX"'): "it is shown while open, and opening sets it",
    (
        "workers/resilience/breaker.py",
        "self._tickets = count(2)",
    ): "tickets are only compared with each other and with 0",
    (
        "workers/resilience/breaker.py",
        'if self._tells or self._counters.counter or self.phase != "XXclosedXX":',
    ): "pybreaker is told of a success that changes nothing",
    (
        "workers/resilience/breaker.py",
        'if self._tells or self._counters.counter or self.phase != "CLOSED":',
    ): "pybreaker is told of a success that changes nothing",
    ("workers/resilience/latency.py", "self._of.popitem(last=None)"): "as false as False",
    ("workers/resilience/latency.py", "self._sorted: list[float] = None"): "it is sorted before it is first read",
    ("workers/resilience/latency.py", "self._unsorted = 1"): "it is sorted before it is first read, all the same",
}

_COPIED = ("gateway", "workers", "pyproject.toml")
_SETTINGS = """
[tool.mutmut]
source_paths = ["workers"]
only_mutate = {files}
also_copy = ["gateway"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-seed=0"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
"""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change.

    Attributes:
        name: mutmut's.
        file: which it changes.
        status: mutmut's word for what the tests did, such as `killed`, `timeout` or `survived`.
    """

    name: str
    file: str
    status: str

    @property
    def noticed(self) -> bool:
        """A test failed, or did not end."""
        return self.status in ("killed", "timeout", "segfault", "caught by type check")


def main(nouns: list[str]) -> int:
    """Mutate the files of these nouns, all without any, and show how many mutants the tests noticed."""
    subjects = {file: tests for file, tests in SUBJECTS.items() if not nouns or Path(file).stem in nouns}
    console = Console(width=None if sys.stdout.isatty() else 110)
    if not subjects:
        console.print(f"no deciding code is called {' or '.join(nouns)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        _copy(tree, subjects)
        command = [sys.executable, "-m", "mutmut", "run"]
        ran = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        mutants = _mutants(tree)
        if not mutants:
            console.print(ran.stdout.decode(errors="replace")[-4000:], markup=False)
            return 2
        return _show(console, tree, mutants)


def _copy(tree: Path, subjects: dict[str, tuple[str, ...]]) -> None:
    """Only what is needed: mutmut copies all tests that it finds, and runs what it is told to."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    tests = sorted({test for needed in subjects.values() for test in needed})
    for test in tests:
        (tree / test).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / test, tree / test)
    for folder in {parent for test in tests for parent in Path(test).parents if parent.parts}:
        (tree / folder / "__init__.py").touch()
    with (tree / "pyproject.toml").open("a") as settings:
        settings.write(_SETTINGS.format(files=list(subjects), tests=tests))


def _mutmut(tree: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False).stdout


def _mutants(tree: Path) -> list[Mutant]:
    found = []
    for line in _mutmut(tree, "results", "--all", "true").splitlines():
        name, _, status = line.strip().rpartition(": ")
        module = name.rpartition(".")[0]
        if module:
            found.append(Mutant(name, module.replace(".", "/") + ".py", status))
    return found


def _written(tree: Path, mutant: Mutant) -> str:
    """The lines that a mutant takes away and writes."""
    lines = _mutmut(tree, "show", mutant.name).splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def _is_equivalent(mutant: Mutant, change: str) -> bool:
    written = [line[1:].strip() for line in change.splitlines() if line.startswith("+")]
    return len(written) == 1 and (mutant.file, written[0]) in EQUIVALENT


def _show(console: Console, tree: Path, mutants: list[Mutant]) -> int:
    missed = {mutant: _written(tree, mutant) for mutant in mutants if not mutant.noticed}
    equivalent = [mutant for mutant, change in missed.items() if _is_equivalent(mutant, change)]
    table = Table("file", title="Mutation testing")
    for column in ("mutants", "noticed", "equivalent", "survived", "score"):
        table.add_column(column, justify="right")
    total: Counter[str] = Counter()
    for file in sorted({mutant.file for mutant in mutants}):
        row = Counter(
            mutants=sum(mutant.file == file for mutant in mutants),
            noticed=sum(mutant.file == file and mutant.noticed for mutant in mutants),
            equivalent=sum(mutant.file == file for mutant in equivalent),
        )
        total += row
        table.add_row(*_row(file, row))
    table.add_section()
    table.add_row(*_row("all", total))
    console.print(table)
    for mutant, change in missed.items():
        if mutant not in equivalent:
            console.print(f"\n{mutant.status}: {mutant.file} ({mutant.name})\n{change}", markup=False, highlight=False)
    return int(len(missed) > len(equivalent))


def _row(file: str, row: Counter[str]) -> tuple[str, ...]:
    survived = row["mutants"] - row["noticed"] - row["equivalent"]
    counts = (row["mutants"], row["noticed"], row["equivalent"], survived)
    return file, *map(str, counts), f"{row['noticed'] / row['mutants']:.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
