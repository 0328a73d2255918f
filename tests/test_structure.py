"""What the layers may import, beyond what import-linter can say; read from the source, nothing is run."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STDLIB = sys.stdlib_module_names


def sources(package: str) -> Iterator[Path]:
    """The Python files of one of our packages."""
    yield from sorted((ROOT / package).rglob("*.py"))


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, wherever it stands; a relative one as `.module`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, level=level):
                yield node.lineno, "." * level + (module or "")
            case _:
                pass


def foreign(package: str, allowed: frozenset[str]) -> list[str]:
    """Every import in `package` whose first name is not allowed there, as `file:line imports module`."""
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(package)
        for line, module in imports(path.read_text(encoding="utf-8"))
        if module.partition(".")[0] not in allowed | {""}  # a relative import stays inside the package
    ]


def test_every_import_is_seen() -> None:
    """Inside a function, under TYPE_CHECKING, relative: none hides."""
    source = "import a.b, c\ndef f():\n    from d.e import g\nif TYPE_CHECKING:\n    from . import h\n"

    assert {(1, "a.b"), (1, "c"), (3, "d.e"), (5, ".")} == set(imports(source))


def test_the_domain_imports_the_standard_library_only() -> None:
    """Decisions depend on nothing that could change under them."""
    assert [] == foreign("domain", STDLIB | {"domain"})


def test_the_application_adds_the_domain_and_structlog() -> None:
    """Everything else that it needs is a port."""
    assert [] == foreign("application", STDLIB | {"domain", "application", "structlog"})


def test_only_bootstrap_knows_adapters() -> None:
    """One file says what the service is made of, one what its providers are, one what a simulation is made of."""
    wiring = set((ROOT / "entrypoints").glob("bootstrap*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources("entrypoints")
        if path not in wiring
        for line, module in imports(path.read_text(encoding="utf-8"))
        if module.partition(".")[0] in ("adapters", "migrations")
    ]

    assert [] == found


def test_packages_can_be_imported_from_the_wheel() -> None:
    """A folder with modules but without __init__.py would be left out of lint, types and layers."""
    packages = ("domain", "application", "adapters", "entrypoints", "migrations")
    folders = {path.parent for package in packages for path in sources(package)}

    assert [] == [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").exists()]


def test_a_simulation_can_reach_nothing() -> None:
    """What it is made of opens no file and no socket: nothing is sent or kept, whatever the scenario says."""
    harmless = {"adapters.memory.passing_store", "adapters.providers.simulated", "adapters.virtual"}
    source = (ROOT / "entrypoints" / "bootstrap_simulation.py").read_text(encoding="utf-8")
    adapters = {module for _, module in imports(source) if module.partition(".")[0] == "adapters"}

    assert harmless == adapters
