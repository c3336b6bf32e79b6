"""What relay-config holds, and a real strfry with it where NWC_TEST_STRFRY names one."""

import asyncio
import os
import re
import shutil
import sys
import tomllib
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from nwc_service.nip47 import kinds
from nwc_service.relay.limits import KEY_BYTES, KEYS_PER_FILTER
from tests.backends.lnbits_server import free_port
from tests.clients.raw import raw_client
from tests.e2e.conftest import node_rows, until
from tests.e2e.service import ServiceProcess, service_process

CONFIG = Path(__file__).parents[2] / "relay-config"
STRFRY = os.environ.get("NWC_TEST_STRFRY")
AMOUNT_MSAT = 50_000

live = pytest.mark.skipif(not STRFRY, reason="NWC_TEST_STRFRY names no strfry")


def test_nostr_rs_relay_takes_every_kind_of_nip_47_and_no_scraper_rule() -> None:
    config = tomllib.loads((CONFIG / "nostr-rs-relay.toml").read_text())

    assert set(config["limits"]["event_kind_allowlist"]) == {
        5,
        kinds.INFO,
        kinds.REQUEST,
        kinds.RESPONSE,
        kinds.NOTIFICATION_NIP04,
        kinds.NOTIFICATION,
    }
    assert config["authorization"]["nip42_auth"] is True
    assert config["limits"]["limit_scrapers"] is False
    assert config["limits"]["max_ws_message_bytes"] >= 2 * config["limits"]["max_event_bytes"]


def test_strfry_keeps_requests_for_as_long_as_the_service_takes_them() -> None:
    text = (CONFIG / "strfry.conf").read_text()

    assert setting(text, "rejectEphemeralEventsOlderThanSeconds") == 300
    # Counted from created_at: the window, and five minutes of absence.
    assert setting(text, "ephemeralEventsLifetimeSeconds") == 300 + 300
    assert setting(text, "rejectEventsNewerThanSeconds") == 900
    assert setting(text, "maxEventSize") == 65_536


def setting(text: str, name: str) -> int:
    [line] = [line for line in text.splitlines() if line.strip().startswith(f"{name} =")]
    return int(line.partition("=")[2])


DEFAULTS = """
db = "./strfry-db/"
maxreaders = 256
mapsize = 10995116277760
noReadAhead = false
maxEventSize = 65536
rejectEventsNewerThanSeconds = 900
rejectEventsOlderThanSeconds = 94608000
rejectEphemeralEventsOlderThanSeconds = 60
ephemeralEventsLifetimeSeconds = 300
maxNumTags = 2000
maxTagValSize = 1024
bind = "127.0.0.1"
port = 7777
nofiles = 1000000
realIpHeader = ""
info.name = "strfry default"
info.description = "This is a strfry instance."
info.pubkey = ""
info.contact = ""
info.icon = ""
info.nips = ""
auth.enabled = true
auth.restrictedReadKinds = "4, 1059"
maxWebsocketPayloadSize = 131072
maxReqFilterSize = 20
maxSubsPerConnection = 20
maxFilterLimit = 500
autoPingSeconds = 55
enableTcpKeepalive = false
queryTimesliceBudgetMicroseconds = 10000
writePolicy.plugin = ""
compression.enabled = true
compression.slidingWindow = true
logging.dumpInAll = false
logging.dumpInEvents = false
logging.dumpInReqs = false
logging.dbScanPerf = false
logging.invalidEvents = true
numThreads.ingester = 3
numThreads.reqWorker = 3
numThreads.reqMonitor = 3
numThreads.negentropy = 2
negentropy.enabled = true
negentropy.maxSyncEvents = 1000000
"""
"""Of strfry, under the names by which the README calls them."""


def test_the_readme_tells_every_setting_that_is_not_strfrys_default() -> None:
    defaults = dict(line.split(" = ") for line in DEFAULTS.split("\n") if line)
    readme = (CONFIG / "README.md").read_text()
    table = readme[readme.index("## strfry") : readme.index("Build it as")]
    told = re.findall(r"`([a-zA-Z.]+)`", table)

    here = settings((CONFIG / "strfry.conf").read_text())

    assert here.keys() == defaults.keys()
    for name, value in here.items():
        if value != defaults[name]:
            assert name in told or name.partition(".")[2] in told, name


def settings(text: str) -> dict[str, str]:
    """Of `events`, `relay` and the rest together; those of a section within by its name."""
    found: dict[str, str] = {}
    sections: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.endswith("{"):
            sections.append(line[:-2])
        elif line == "}":
            sections.pop()
        elif line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            found[".".join([*sections[1:], name])] = value
    return found


def test_the_comment_on_subscriptions_counts_as_the_service_does() -> None:
    text = (CONFIG / "strfry.conf").read_text()
    assert setting(text, "maxWebsocketPayloadSize") > KEYS_PER_FILTER * KEY_BYTES

    assert f"one for every {KEYS_PER_FILTER // 1000} 000 wallet connections" in text


@asynccontextmanager
async def strfry(directory: Path) -> AsyncIterator[str]:
    """Its URL. With the write policy, and all else as it is configured for operators."""
    port = free_port()
    policy = f"{sys.executable} {CONFIG / 'write_policy.py'} --trust 127.0.0.1"
    text = (CONFIG / "strfry.conf").read_text()
    for old, new in (
        ("/var/lib/strfry/", f"{directory}/db/"),
        ("port = 7777", f"port = {port}"),
        ('plugin = ""', f'plugin = "{policy}"'),
        ('realIpHeader = "x-real-ip"', 'realIpHeader = ""'),
        ("mapsize = 10995116277760", "mapsize = 1073741824"),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "db").mkdir(parents=True)
    config = directory / "strfry.conf"
    config.write_text(text)
    assert STRFRY is not None
    process = await asyncio.create_subprocess_exec(
        shutil.which(STRFRY) or STRFRY,
        f"--config={config}",
        "relay",
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    url = f"ws://127.0.0.1:{port}"
    try:
        await until(lambda: is_up(url))
        yield url
    finally:
        process.kill()
        await process.wait()


async def is_up(url: str) -> bool:
    try:
        async with connect(url):
            return True
    except OSError:
        return False


@asynccontextmanager
async def serving(url: str, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    async with service_process(tmp_path / "data", NWC_RELAYS=url) as service:
        yield service
        assert (await service.audit())["problems"] == []


@live
async def test_strfry_with_the_write_policy_carries_a_payment(tmp_path: Path) -> None:
    async with strfry(tmp_path / "strfry") as url, serving(url, tmp_path) as service:
        await service.create_account("alice", credit_msat=10_000_000)
        uri = await service.connect("alice")
        invoice = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
        async with raw_client(uri) as client:
            paid = await client.request("pay_invoice", {"invoice": invoice["invoice"]})
            refused = await client.send_event(
                client.build_event("a note", kind=1, tags=[("p", client.uri.wallet_pubkey)])
            )

        assert (paid.error_code, client.info is not None) == (None, True)
        assert [row[3] for row in await node_rows(service, invoice["payment_hash"])] == [
            "settled"
        ]
        assert (refused.accepted, refused.message[:8]) == (False, "blocked:")


@live
async def test_strfry_keeps_a_request_for_a_service_that_is_away(tmp_path: Path) -> None:
    async with strfry(tmp_path / "strfry") as url, serving(url, tmp_path) as service:
        await service.create_account("alice", credit_msat=10_000_000)
        uri = await service.connect("alice")
        invoice = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
        async with raw_client(uri) as client:
            request = client.build_request("pay_invoice", {"invoice": invoice["invoice"]})
            await service.stop()
            assert (await client.send_event(request)).accepted
            await service.start()
            answer = await client.response_to(request.id, timeout_s=15)

        assert (answer.error_code, len(client.responses_to(request.id))) == (None, 1)
