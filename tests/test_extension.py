"""A new method is one file and one line; a new backend is one file and one entry point line.

The tree is copied, extended by just that, and run.
"""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.raw import raw_client
from tests.e2e.service import ServiceProcess, service_process

ROOT = Path(__file__).parents[1]
EXTENSION = ROOT / "tests" / "extension"
GROUP = "nwc_service.backends"

# What an installer makes of `[project.entry-points]`.
METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is installed, with the file that says what is."""
    tree = tmp_path / "tree"
    for package in ("nwc_service", "backends"):
        shutil.copytree(
            ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def add_line(file: Path, *, after: str, line: str) -> None:
    text = file.read_text()
    assert text.count(after) == 1
    file.write_text(text.replace(after, f"{after}{line}\n"))


def add_ping(tree: Path) -> None:
    """One file and one line."""
    methods = tree / "nwc_service" / "methods"
    shutil.copy(EXTENSION / "ping.py", methods)
    add_line(methods / "__init__.py", after='        "get_info",\n', line='        "ping",')


def add_backend_to_the_tree(tree: Path) -> Path:
    """One file and one entry point line; and installed, since entry points are fixed then."""
    shutil.copy(EXTENSION / "tiny.py", tree / "backends")
    pyproject = tree / "pyproject.toml"
    add_line(
        pyproject,
        after='lnbits = "backends.lnbits:LnbitsBackend"\n',
        line='tiny = "backends.tiny:TinyBackend"',
    )
    project = tomllib.loads(pyproject.read_text())["project"]
    lines = [f"{name} = {place}" for name, place in project["entry-points"][GROUP].items()]
    return install(tree, "nwc-service", version=project["version"], lines=lines)


def add_backend_of_a_third_party(tree: Path) -> Path:
    """The same in a distribution of its own; nothing in the tree changes."""
    site = tree.parent / "site"
    site.mkdir()
    shutil.copy(EXTENSION / "tiny.py", site / "tiny_backend.py")
    return install(
        site, "tiny-backend", version="1.0", lines=["tiny = tiny_backend:TinyBackend"]
    )


def install(site: Path, name: str, *, version: str, lines: list[str]) -> Path:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(name=name, version=version))
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    return site


def paths(*places: Path) -> dict[str, str]:
    """Of a process that finds its packages here first, and none by the folder it runs in."""
    return {"PYTHONPATH": ":".join(map(str, dict.fromkeys(places))), "PYTHONSAFEPATH": "1"}


async def test_a_new_method_is_one_file_and_one_line(tree: Path, tmp_path: Path) -> None:
    add_ping(tree)

    async with service_process(tmp_path / "data", **paths(tree)) as service:
        await service.create_account("main")
        async with raw_client(await service.connect("main")) as client:
            announced = (await client.request("get_info")).result["methods"]
            answer = await client.request("ping", {"word": "hello"})
            refusal = await client.request("ping", {"word": 7})
        async with raw_client(await service.connect("main", scopes="get_balance")) as narrow:
            restricted = await narrow.request("ping")

    assert "ping" in announced
    assert client.info is not None
    assert "ping" in client.info.content.split()
    assert answer.result["word"] == "hello"
    assert refusal.payload["error"]["message"].startswith("word: ")
    assert restricted.error_code == "RESTRICTED"


async def test_a_file_alone_is_no_method(tree: Path, tmp_path: Path) -> None:
    shutil.copy(EXTENSION / "ping.py", tree / "nwc_service" / "methods")

    async with service_process(tmp_path / "data", **paths(tree)) as service:
        await service.create_account("main")
        async with raw_client(await service.connect("main")) as client:
            opened = await client.request("ping")

    assert opened.error_code == "NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("add", "distribution"),
    [
        pytest.param(add_backend_to_the_tree, "nwc-service 0.1.0", id="in-the-tree"),
        pytest.param(add_backend_of_a_third_party, "tiny-backend 1.0", id="of-a-third-party"),
    ],
)
async def test_a_new_backend_is_one_file_and_one_entry_point_line(
    add: Callable[[Path], Path], distribution: str, tree: Path, tmp_path: Path
) -> None:
    site = add(tree)
    variables = paths(tree, site) | {"NWC_BACKEND": "tiny", "NWC_TINY_ALIAS": "a tiny node"}

    async with service_process(tmp_path / "data", **variables) as service:
        await service.create_account("main")
        async with raw_client(await service.connect("main")) as client:
            info = (await client.request("get_info")).result
            invoice = (await client.request("make_invoice", {"amount": 5_000})).result
            await service.call(
                "POST", "backends/tiny/commands/paid", payment_hash=invoice["payment_hash"]
            )
            received = await client.notifications.get()
        await it_runs(service)

    assert info["alias"] == "a tiny node"
    assert received.payload["notification"]["payment_hash"] == invoice["payment_hash"]
    assert distribution in service.log_text()


async def it_runs(service: ServiceProcess) -> None:
    ready = (await service.admin.get("/readyz")).json()
    account = await service.account("main")

    assert ready["backends"] == {"tiny": True}
    assert account["available_msat"] == 5_000
    assert (await service.audit())["ok"]


async def test_a_backend_without_its_line_is_refused_by_naming_the_others(
    tree: Path, tmp_path: Path
) -> None:
    shutil.copy(EXTENSION / "tiny.py", tree / "backends")

    with pytest.raises(
        RuntimeError,
        match="no backend of type 'tiny'; installed: cln, lnbits, lnd, phoenixd, sandbox",
    ):
        async with service_process(tmp_path / "data", NWC_BACKEND="tiny", **paths(tree)):
            pass
