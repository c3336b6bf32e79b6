"""`python -m tests.image.build`: the Dockerfile's image, without any image from elsewhere.

buildah builds it, on a base that debootstrap makes of Debian's packages; both want root. The
base is kept in .tools; the images are in a storage of their own, which goes with its folder.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / ".tools"
RELEASE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
PROGRAMS = ("buildah", "debootstrap", "unshare", "chroot")
BUILD_TIMEOUT_S = 900

# How this machine reaches its package index, whatever that is: the build must reach it too.
MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs")


class Failed(Exception):
    """The last lines of what the program said."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image laid out as a folder: its files, and what it says of how it is to be run."""

    root: Path
    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    user: str
    volumes: Sequence[str]
    healthcheck: Sequence[str]


def possible() -> bool:
    return os.geteuid() == 0 and all(map(shutil.which, PROGRAMS))


@contextmanager
def built() -> Iterator[Image]:
    """Build it and lay it out; all of it is removed on leaving. Raises Failed."""
    with TemporaryDirectory(prefix="nwc-image-") as name:
        buildah = _Buildah(Path(name))
        try:
            yield buildah.image()
        finally:
            buildah.remove()


class _Buildah:
    def __init__(self, folder: Path) -> None:
        storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))
        self._command = ("buildah", *storage)

    def image(self) -> Image:
        base = self._base()
        self._run(
            *("bud", "--quiet", "--isolation", "chroot", "--network", "host"),
            *("--format", "docker", "--build-arg", f"BASE={base}", "--tag", "nwc-service"),
            *_machine_options(),
            str(REPOSITORY),
        )
        container = self._run("from", "--pull-never", "localhost/nwc-service")
        root = Path(self._run("mount", container))
        return _image(root, json.loads(self._run("inspect", container)))

    def remove(self) -> None:
        for leftovers in (("umount", "--all"), ("rm", "--all"), ("rmi", "--all", "--force")):
            subprocess.run([*self._command, *leftovers], capture_output=True, check=False)

    def _base(self) -> str:
        container = self._run("from", "scratch")
        self._run("add", "--quiet", container, str(_base_archive()), "/")
        self._run("commit", "--quiet", "--rm", container, "localhost/base")
        return "localhost/base"

    def _run(self, *arguments: str) -> str:
        return _run(*self._command, *arguments)


def _base_archive() -> Path:
    """Debian with Python and nothing else, made once."""
    archive = TOOLS / f"image-base-{RELEASE}.tar"
    if not archive.exists():
        TOOLS.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix="nwc-base-") as folder:
            root = f"{folder}/root"
            packages = ",".join(BASE_PACKAGES)
            _run("debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, root)
            _run("tar", "--create", f"--file={folder}/base.tar", f"--directory={root}", ".")
            shutil.copy(f"{folder}/base.tar", archive.with_suffix(".new"))
        archive.with_suffix(".new").replace(archive)
    return archive


def _machine_options() -> list[str]:
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    found = [path for path in (*MACHINE_FILES, wheels) if path and Path(path).exists()]
    return [option for path in found for option in ("--volume", f"{path}:{path}:ro")]


def _image(root: Path, told: Mapping[str, dict[str, dict[str, object]]]) -> Image:
    config = told["Docker"]["config"]
    environment = dict(each.split("=", 1) for each in _strings(config["Env"]))
    volumes = config["Volumes"]
    health = config["Healthcheck"]
    assert isinstance(volumes, dict)
    assert isinstance(health, dict)
    return Image(
        root=root,
        environment=environment,
        entrypoint=_strings(config["Entrypoint"]),
        user=str(config["User"]),
        volumes=sorted(volumes),
        healthcheck=_strings(health["Test"])[1:],
    )


def _strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(each) for each in value]


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-12:]
        raise Failed("\n".join((" ".join(command[:6]), *said)))
    return done.stdout.strip()


if __name__ == "__main__":
    with built() as image:
        print(f"built: {' '.join(image.entrypoint)} as {image.user}", file=sys.stderr)
