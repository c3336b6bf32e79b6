"""The image of the Dockerfile serves on a read-only root, as a user without rights."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.demo.parties import NOSTR_SDK, clients
from tests.demo.sandbox import SandboxOutside
from tests.demo.story import PrintedStory
from tests.demo.tour import Tour
from tests.e2e.service import CommandFailed, ServiceProcess, service_process
from tests.image import build, container
from tests.image.build import Image
from tests.parts import require_real

FREE_PORTS = {
    "NWC_ADMIN_LISTEN": "127.0.0.1:0",
    "NWC_EMBEDDED_RELAY_LISTEN": "127.0.0.1:0",
}

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    require_real("root with buildah and debootstrap", build.possible())
    with build.built() as made:
        yield made


def test_it_runs_as_a_user_without_rights_and_keeps_its_data_in_one_volume(
    image: Image,
) -> None:
    assert image.volumes == ["/data"]
    assert container.user_id(image) > 0
    assert (image.root / "data").stat().st_uid == container.user_id(image)
    assert image.environment["NWC_ADMIN_LISTEN"].startswith("127.0.0.1:")


def test_what_builds_stays_behind(image: Image) -> None:
    installed = {path.name for path in image.root.glob("opt/*/lib/*/site-packages/*")}

    assert {"nwc_service", "backends"} <= installed
    assert not {"hatchling", "tests"} & installed
    assert not (image.root / "opt" / "build").exists()


async def test_the_tour_on_a_read_only_root(image: Image, tmp_path: Path) -> None:
    data = private_folder(tmp_path / "data", owner=container.user_id(image))
    program = container.command(image, data, environment=FREE_PORTS)
    story = PrintedStory()
    async with service_process(data, program=program) as service:
        async with clients() as opened:
            parties = [
                await opened.party(name, await connect(service, name), library=NOSTR_SDK)
                for name in ("alice", "bob")
            ]
            await Tour(*parties, outside=SandboxOutside(service), story=story).take()
        assert health(image, data) == 0
        with pytest.raises(CommandFailed, match="there is no account"):
            await service.cli("account", "show", "nobody")
        await service.stop()
        assert (await service.cli("audit"))["ok"]

    assert story.checks > 0
    assert health(image, data) != 0


async def connect(service: ServiceProcess, name: str) -> str:
    await service.cli("account", "create", name)
    made = await service.cli("connection", "create", "--account", name, "--app", "a-test")
    return str(made["uri"])


def health(image: Image, data: Path) -> int:
    """What the image's own check says."""
    command = container.command(replace(image, entrypoint=image.healthcheck), data)
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode


def private_folder(path: Path, *, owner: int) -> Path:
    """Which that user can reach, unlike pytest's own folders."""
    path.mkdir(mode=0o700)
    os.chown(path, owner, -1)
    return path
