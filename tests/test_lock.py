"""The lock is complete, and what it leaves out it leaves out on purpose."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    version,
)
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]

# Required by something we install, and deliberately absent.
ABSENT = {
    "torchvision": "beside a CPU torch its import fails and takes transformers with it",
    "sam2": "needs torchvision; MONAI Label imports it only inside its own SAM2 task",
    "numpymaxflow": "built for numpy 1; only MONAI Label's scribbles, not offered here, use it",
    "ninja": "a build tool; nothing is compiled here",
    "httpx": "no module of MONAI Label's server imports it",
    "expiringdict": "no module of MONAI Label imports it",
    "expiring-dict": "only MONAI Label's transform cache uses it, which no task of ours does",
    "shapely": "only MONAI Label's transform.post uses it, which also imports torchvision",
    "fire": "MONAI bundles from a command line; not used",
    "gdown": "MONAI downloads; nothing is downloaded here",
    "pytorch-ignite": "MONAI training handlers; not used",
    "lmdb": "a MONAI dataset format; not used",
    "mlflow": "MONAI experiment tracking; not used",
    "openslide-python": "pathology slides; not used",
    "openslide-bin": "pathology slides; not used",
    "tensorboard": "MONAI training curves; not used",
}
# Installed at a version that what asks for it did not foresee.
OTHER_VERSION = {
    ("pydicom-seg", "numpy"): "asks for numpy 1; it is only imported, never called",
    ("pydicom-seg", "jsonschema"): "asks for version 3; it is only imported, never called",
}
# What a CUDA build of torch adds to its needs; which of them, the build decides, not the lock.
GPU_LIBRARIES = re.compile(r"(nvidia|cuda|triton)\b")


def pinned() -> dict[str, str]:
    """Read the lock: canonical name to version."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9._!-]+)", line) for line in pins]
    unreadable = [line for line, pair in zip(pins, pairs, strict=True) if pair is None]
    assert not unreadable, f"not pinned by ==: {unreadable}"
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs if pair is not None}


def needed(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Yield what an installed distribution needs here, the wanted extras included."""
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        if name == "torch" and GPU_LIBRARIES.match(requirement.name):
            continue
        for extra in ("", *extras):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                yield requirement
                break


def unmet(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say what `name` needs and does not find, in words."""
    for requirement in needed(name, extras):
        wanted = canonicalize_name(requirement.name)
        if wanted in ABSENT:
            continue
        try:
            found = version(wanted)
        except PackageNotFoundError:
            yield f"{name} needs {requirement}, which is not installed"
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        if not fits and (canonicalize_name(name), wanted) not in OTHER_VERSION:
            yield f"{name} needs {requirement} and finds {found}"
        if requirement.extras:
            yield from unmet(wanted, frozenset(requirement.extras))


def our_requirements() -> list[Requirement]:
    """Read what pyproject.toml asks for: to build, to run and to test."""
    tree = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = tree["project"]["optional-dependencies"].values()
    lists = [tree["build-system"]["requires"], tree["project"]["dependencies"], *extras]
    return [Requirement(text) for texts in lists for text in texts]


def reached() -> set[str]:
    """Follow our requirements, and theirs, through what is installed; give all names met."""
    waiting, met = our_requirements(), set()
    while waiting:
        requirement = waiting.pop()
        found = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if found not in met and found[0] not in ABSENT:
            met.add(found)
            waiting.extend(needed(*found))
    return {name for name, _ in met}


def imported(module: Path) -> Iterator[str]:
    """Yield the top-level package of every import in a module, those inside functions too."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_pin_is_what_is_installed() -> None:
    installed = {name: version(name).split("+")[0] for name in pinned()}
    assert installed == pinned()


def test_every_requirement_of_every_pin_is_met_or_deliberately_absent() -> None:
    assert [problem for name in pinned() for problem in unmet(name)] == []


def test_the_lock_meets_our_own_requirements_and_pins_all_of_them() -> None:
    extras = frozenset({"test"})
    assert list(unmet("radedit-monailabel", extras)) == []
    ours = {canonicalize_name(r.name) for r in needed("radedit-monailabel", extras)}
    assert ours <= pinned().keys()


def test_every_requirement_in_the_lock_is_pinned_too() -> None:
    wanted = {canonicalize_name(r.name) for name in pinned() for r in needed(name)}
    assert wanted - pinned().keys() - ABSENT.keys() == set()


def test_no_pin_is_a_stranger_that_nothing_of_ours_leads_to() -> None:
    assert pinned().keys() - reached() == set()


@pytest.mark.parametrize("root", ["apps", "dicom"])
def test_every_package_that_the_code_imports_is_declared(root: str) -> None:
    tree = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    declared = {canonicalize_name(Requirement(r).name) for r in tree["project"]["dependencies"]}
    known = {*sys.stdlib_module_names, "radedit", "radedit_dicom"}
    found = {n for module in (REPOSITORY / root).rglob("*.py") for n in imported(module)} - known
    assert found, "the search itself must work"
    # Also by its own name: the package itk is empty and brings along those that hold its modules.
    providers = packages_distributions()
    given_by = {name: [name, *providers.get(name, [])] for name in found}
    undeclared = {n for n, by in given_by.items() if not declared & set(map(canonicalize_name, by))}
    assert undeclared == set()


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_what_is_deliberately_absent_is_absent(name: str) -> None:
    assert name not in pinned()
    with pytest.raises(PackageNotFoundError):
        version(name)


def test_torchvision_is_not_on_the_import_path() -> None:
    assert find_spec("torchvision") is None


def test_the_lock_is_for_the_python_that_runs() -> None:
    assert sys.version_info[:2] == (3, 11)
