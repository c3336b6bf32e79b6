"""What is locked, what is shipped, and that no file knows the machine it was written on."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
REQUIREMENTS = REPOSITORY / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
NPM_LOCK = REPOSITORY / "tests" / "clients" / "js" / "package-lock.json"
PACKAGES = ("nwc_service", "backends")

ENTRY = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[0-9][A-Za-z0-9.!+]*)"
    r"(?: ; (?P<marker>[^\\#]+?))?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/[\w.]|/(?:tmp|var)/w/")
REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|yarnpkg)\.(?:org|com)\b|--(?:extra-)?index"
)


@pytest.mark.attack("A35")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_requirement_has_its_version_and_hashes(lock: Path) -> None:
    entries = logical_lines(lock)

    assert entries
    assert [entry for entry in entries if not ENTRY.fullmatch(entry)] == []


@pytest.mark.parametrize(
    "file",
    [*LOCKS, *sorted(REQUIREMENTS.glob("*.in")), NPM_LOCK],
    ids=lambda file: file.name,
)
def test_no_lock_names_a_host(file: Path) -> None:
    assert "://" not in file.read_text()


@pytest.mark.attack("A35")
def test_what_the_project_needs_is_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    runtime = names(project["project"]["dependencies"])
    development = names(project["dependency-groups"]["dev"])
    run, dev = locked("run"), locked("dev")

    assert runtime <= run.keys()
    assert runtime | development <= dev.keys()
    assert run.items() <= dev.items()


@pytest.mark.parametrize("purpose", ["build", "lnbits", "uv"])
def test_what_is_asked_for_beside_the_project_is_locked(purpose: str) -> None:
    asked = names((REQUIREMENTS / f"{purpose}.in").read_text().splitlines())

    assert asked
    assert asked <= locked(purpose).keys()


@pytest.mark.attack("A35")
def test_the_package_is_built_by_what_is_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

    assert names(project["build-system"]["requires"]) <= locked("build").keys()
    assert locked("build")["hatchling"] == locked("dev")["hatchling"]


def test_lnbits_is_never_a_dependency_of_the_service() -> None:
    assert "lnbits" in locked("lnbits")
    assert "lnbits" not in locked("dev")
    assert int(locked("run")["pydantic"].split(".")[0]) >= 2


PAGE_PARTS = ("templates", "static")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    [built] = directory.glob("*.whl")
    return built


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    shipped = set(ZipFile(wheel).namelist())

    metadata = {name for name in shipped if ".dist-info/" in name}
    sources = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix == ".py" or path.parent.name in PAGE_PARTS
    }
    assert len(sources) > 80
    assert shipped - metadata == sources
    assert len({name.split("/")[0] for name in metadata}) == 1


@pytest.mark.attack("A35")
def test_the_wheel_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    ZipFile(wheel).extractall(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    where = "import backends, nwc_service; print(backends.__file__, nwc_service.__file__)"

    told = run([sys.executable, "-c", where], cwd=tmp_path, env=environment)
    helped = run([sys.executable, "-m", "nwc_service", "--help"], cwd=tmp_path, env=environment)

    assert told.split() == [
        str(tmp_path / package / "__init__.py") for package in PACKAGES[::-1]
    ]
    assert "serve" in helped


def test_the_wheel_has_the_program_and_an_entry_point_for_every_backend(wheel: Path) -> None:
    [name] = [name for name in ZipFile(wheel).namelist() if name.endswith("entry_points.txt")]

    text = ZipFile(wheel).read(name).decode()

    assert "nwc-service = nwc_service.cli:main" in text
    backends = REPOSITORY / "backends"
    found = [path.stem for path in backends.iterdir() if not path.stem.startswith("_")]
    assert sorted(re.findall(r"^(\w+) = backends\.", text, re.MULTILINE)) == sorted(found)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        pytest.param(MACHINE_PATH, "a path of one machine", id="machine-path"),
        pytest.param(REGISTRY, "a package registry", id="registry"),
    ],
)
def test_no_file_names_what_is_only_here(wrong: re.Pattern[str], named: str) -> None:
    texts = tracked_texts()

    found = [
        f"{path}:{number}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if wrong.search(line)
    ]

    assert len(texts) > 100
    assert found == [], f"{named} is named"


def logical_lines(lock: Path) -> list[str]:
    text = re.sub(r"\s*\\\n\s*", " ", lock.read_text())
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def locked(purpose: str) -> dict[str, str]:
    """Name to version."""
    found = map(ENTRY.fullmatch, logical_lines(REQUIREMENTS / f"{purpose}.txt"))
    return {match["name"]: match["version"] for match in found if match}


def names(requirements: Iterable[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements)
    return {re.sub(r"[._-]+", "-", match[0]).lower() for match in found if match}


def run(command: list[str], *, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def tracked_texts() -> dict[str, str]:
    """What is in the repository, or would be if it were added now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listed.returncode:
        pytest.skip("this is no clone")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text(errors="replace")
        for path in paths
        if path.is_file()
    }
