"""What every command shares: its options, its one line of failure, and its output."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar, cast
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from nwc_service import datadir
from nwc_service.backend import BadRequest, Unsupported
from nwc_service.config import ConfigError, Settings, default_data_dir, load_settings
from nwc_service.store.database import Database, StoreError, Tx, Work
from nwc_service.store.sqlite import open_sqlite
from nwc_service.views import MAX_PAGE, View
from nwc_service.wallet.errors import Refused

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="NWC_DATA_DIR",
        help="Where the service keeps its data.",
        show_default="~/.local/share/nwc-service",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

Query = Mapping[str, str | int]
"""What is asked for beside the path, as the API has it."""

REQUEST_TIMEOUT_S = 60.0
MAX_WIDTH = 1000
EXPECTED = (Refused, ConfigError, StoreError, BadRequest, Unsupported)


class Failure(Exception):
    """What went wrong, in one line."""


class NoService(Failure):
    """None runs, or none ever has."""


def fail(message: str) -> NoReturn:
    """One line on standard error, and exit 1."""
    print("nwc-service: " + " ".join(message.split()), file=sys.stderr)
    raise typer.Exit(1)


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(where + (error.strerror or str(error)))
    except (Failure, *EXPECTED) as error:
        fail(str(error) or type(error).__name__)


def settings(data_dir: Path | None) -> Settings:
    """As the service last ran on this data directory, unless the environment says otherwise."""
    return load_settings(file=config_file(data_dir), data_dir=data_dir)


def config_file(data_dir: Path | None) -> Path | None:
    """That of the service's last run, unless the environment names another."""
    file = os.environ.get("NWC_CONFIG")
    if file is None:
        left = datadir.served(data_dir or default_data_dir(os.environ)).get("config")
        file = left if left and Path(left).exists() else None
    return Path(file) if file else None


def _database_path(data_dir: Path | None) -> Path:
    chosen = settings(data_dir)
    left = datadir.served(chosen.data_dir).get("database")
    named = os.environ.get("NWC_DATABASE_URL") or os.environ.get("NWC_CONFIG")
    return Path(left) if left and not named else chosen.database_path


def look(
    data_dir: Path | None,
    path: Sequence[str],
    work: Work[T],
    *,
    query: Query | None = None,
) -> T:
    """What one snapshot shows; see `inspect`."""
    return inspect(data_dir, path, lambda database: database.read(work), query=query)


def inspect(
    data_dir: Path | None,
    path: Sequence[str],
    work: Callable[[Database], Awaitable[T]],
    *,
    query: Query | None = None,
) -> T:
    """Read the database itself, so that it works while the service is down; or ask the service
    that `NWC_ADMIN_URL` names, whose database may be elsewhere."""
    if os.environ.get("NWC_ADMIN_URL"):
        found: T = call(data_dir, "GET", path, query=query)
        return found

    async def run() -> T:
        async with open_sqlite(_database_path(data_dir), read_only=True) as database:
            return await work(database)

    with failing_in_one_line():
        return asyncio.run(run())


def call(
    data_dir: Path | None,
    method: str,
    path: Sequence[str],
    body: Mapping[str, object] | None = None,
    *,
    query: Query | None = None,
) -> Any:
    """Ask the running service through its admin API; the JSON of its answer."""
    with failing_in_one_line():
        return _request(data_dir, method, path=path, body=body, query=query)


def pages(
    data_dir: Path | None,
    path: Sequence[str],
    page: Callable[[Tx, str | None, int], Awaitable[View]],
    *,
    query: Query | None = None,
    at_once: int = MAX_PAGE,
) -> Iterator[View]:
    """The rows of all pages; `page` reads the one behind a cursor from the database itself."""
    cursor: str | None = None
    while True:

        async def work(tx: Tx, cursor: str | None = cursor) -> View:
            return await page(tx, cursor, at_once)

        more = {"cursor": cursor} if cursor else {}
        found = look(data_dir, path, work, query={**(query or {}), "limit": at_once, **more})
        yield from cast("list[View]", found["items"])
        cursor = cast("str | None", found["next_cursor"])
        if cursor is None:
            return


def ask(data_dir: Path | None, path: Sequence[str]) -> Any | None:
    """What only the running service knows; None where none runs."""
    with failing_in_one_line():
        try:
            return _request(data_dir, "GET", path=path)
        except NoService:
            return None


def call_for_lines(data_dir: Path | None, path: Sequence[str], content: bytes) -> Iterator[str]:
    """POST lines to the running service; those of its answer, as they come."""
    import httpx  # only here: it takes long to load

    with failing_in_one_line():
        url, token = _admin(settings(data_dir).data_dir)
        try:
            with httpx.stream(
                "POST",
                _address(url, path),
                content=content,
                headers={"Authorization": f"Bearer {token}"},
                timeout=REQUEST_TIMEOUT_S,
                trust_env=False,
            ) as response:
                if not response.is_success:
                    response.read()
                    raise Failure(_detail(response))
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise Failure(f"the service at {url} did not answer: {error!r}") from error


def _address(url: str, path: Sequence[str]) -> str:
    return "/".join([url.rstrip("/"), "api/v1", *(quote(part, safe="") for part in path)])


def _request(
    data_dir: Path | None,
    method: str,
    *,
    path: Sequence[str],
    body: Mapping[str, object] | None = None,
    query: Query | None = None,
) -> Any:
    """Raises Failure."""
    url, token = _admin(settings(data_dir).data_dir)
    address = _address(url, path)
    import httpx  # only here: it takes long to load

    try:
        response = httpx.request(
            method,
            address,
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {token}"},
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
        )
    except httpx.ConnectError as error:
        raise NoService(f"no service answers at {url}: is it running?") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failure(f"the service at {url} did not answer: {error!r}") from error
    if not response.is_success:
        raise Failure(_detail(response))
    return response.json()


def _admin(data_dir: Path) -> tuple[str, str]:
    url, token = os.environ.get("NWC_ADMIN_URL"), os.environ.get("NWC_ADMIN_TOKEN")
    try:
        url = url or (data_dir / datadir.ADMIN_URL).read_text().strip()
        token = token or (data_dir / datadir.ADMIN_TOKEN).read_text().strip()
    except FileNotFoundError as error:
        raise NoService(
            f"{error.filename} is missing: start the service first (nwc-service serve)"
        ) from error
    if not re.fullmatch(r"[!-~]+", token):
        # No header can hold it, and what would be raised then shows it.
        raise Failure("the admin token must be of visible ASCII characters")
    return url, token


def _detail(response: "httpx.Response") -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {response.status_code}"


def show(view: View, *, as_json: bool) -> None:
    left = _without_warnings(view)
    if as_json:
        print(json.dumps(view))
        return
    width = max(map(len, left), default=0)
    for name, value in left.items():
        lines = value if isinstance(value, list) and value and _is_rows(value) else [value]
        for line in lines:
            print(f"{name:<{width}}  {_text(line, name)}".rstrip())


def _without_warnings(view: View) -> View:
    """What is left once they are told on standard error, where a pipe does not hide them."""
    warnings = view.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        print(f"nwc-service: warning: {printable(str(warning))}", file=sys.stderr)
    return {name: value for name, value in view.items() if name != "warnings"}


def show_list(rows: Sequence[View], *, as_json: bool, columns: Sequence[str]) -> None:
    if as_json:
        print(json.dumps(list(rows)))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_text(row[column], column) for column in columns))
    # As wide as it must be: an id that is cut cannot be copied.
    Console(width=MAX_WIDTH, soft_wrap=True, markup=False, emoji=False).print(table)


def _is_rows(values: list[object]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _text(value: object, name: str = "") -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and name.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return printable(" ".join(map(str, value))) or "-"
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(part, name)}" for name, part in value.items())
    return printable(str(value))


def printable(text: str) -> str:
    """What a client or a node wrote must not steer the operator's terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
