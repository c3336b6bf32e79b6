"""`python -m tests.demo`: a tour of the service that ends by itself.

Exit 0 only if every figure, as the service and the client libraries gave it, is what it should
be. The service runs in a temporary directory of its own, on its embedded defaults, or with
`--backend lnd` on one of two real LND nodes.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nwc_service.log import redact
from tests.clients import install
from tests.demo.parties import ALBY, NOSTR_SDK, Clients, Party, clients
from tests.demo.stages import STAGES, Stage
from tests.demo.story import Mismatch, PrintedStory
from tests.demo.tour import FROM_OUTSIDE_MSAT, TO_OUTSIDE_MSAT, Tour
from tests.e2e.service import ServiceProcess


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--backend", choices=STAGES, default="sandbox")
    backend = parser.parse_args().backend
    directory = Path(tempfile.mkdtemp(prefix="nwc-demo-"))
    story = PrintedStory()
    code = exit_code(lambda: asyncio.run(_demo(directory, story, backend=backend)))
    if code:
        print(f"The data is in {directory}", file=sys.stderr)
        return code
    shutil.rmtree(directory)
    story.say(f"\nAll {story.checks} checks are as they should be.", style="bold")
    return 0


def exit_code(work: Callable[[], None]) -> int:
    """Do it; 1 and one line on standard error where anything is not as it should be."""
    try:
        work()
    except Mismatch as mismatch:
        problem = str(mismatch)
    except KeyboardInterrupt:
        problem = "interrupted"
    except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
        problem = f"{type(error).__name__}: {error}"
    else:
        return 0
    shown = redact(None, "", {"problem": " ".join(problem.split())})["problem"]
    print(f"\nNOT AS IT SHOULD BE: {shown}", file=sys.stderr)
    return 1


CHAPTERS = {
    "sandbox": "The service starts on embedded defaults",
    "lnd": "Two LND nodes open channels, and the service starts on one of them",
}


async def _demo(directory: Path, story: PrintedStory, *, backend: str) -> None:
    story.chapter(CHAPTERS[backend])
    async with STAGES[backend](directory) as stage:
        service = stage.service
        ready = (await service.admin.get("/readyz")).json()
        story.check("ready", ready["ready"], expected=True)
        if "notice" in ready:
            story.say(f"   {ready['notice']}")
        async with clients() as opened:
            alice = await _join(service, opened, story=story, name="alice", library=NOSTR_SDK)
            library = ALBY if install.installed() and install.node() else NOSTR_SDK
            bob = await _join(service, opened, story=story, name="bob", library=library)
            await Tour(alice, bob, outside=stage.outside, story=story).take()
        await _compare_books(stage, story, parties=(alice, bob))
        await _audit(service, story, state="running")
        await service.stop()
        await _audit(service, story, state="stopped")


async def _join(
    service: ServiceProcess,
    opened: Clients,
    *,
    story: PrintedStory,
    name: str,
    library: str,
) -> Party:
    """An account, and a connection whose URI goes to the client library and nowhere else."""
    story.chapter(f"{name} gets an account, and connects an app built on {library}")
    account = await _command(service, story, "account", "create", name)
    story.check("available, msat", account["available_msat"], expected=0)
    connection = await _command(
        service, story, "connection", "create", "--account", name, "--app", f"{name}-app"
    )
    story.check("account of the connection", connection["account"], expected=name)
    return await opened.party(name, connection["uri"], library=library)


async def _compare_books(
    stage: Stage, story: PrintedStory, *, parties: tuple[Party, ...]
) -> None:
    story.chapter("The books of both sides")
    for party in parties:
        account = await stage.service.account(party.name)
        story.check(
            f"{party.name}: available and held, msat",
            (account["available_msat"], account["held_msat"]),
            expected=(party.balance_msat, 0),
        )
    story.check(
        "what the nodes exchanged",
        await stage.exchanged(),
        expected=[
            ("incoming", FROM_OUTSIDE_MSAT, 0),
            ("outgoing", TO_OUTSIDE_MSAT, stage.outside.fee_msat(TO_OUTSIDE_MSAT)),
        ],
    )


async def _audit(service: ServiceProcess, story: PrintedStory, *, state: str) -> None:
    story.chapter(f"The audit, with the service {state}")
    audit = await _command(service, story, "audit")
    story.check("accounts", audit["accounts"], expected=2)
    story.check("problems", audit["problems"], expected=[])
    story.check("ok", audit["ok"], expected=True)


async def _command(
    service: ServiceProcess, story: PrintedStory, *arguments: str
) -> dict[str, Any]:
    """What the real command line answers. Raises CommandFailed."""
    story.say(f"   $ nwc-service {' '.join(arguments)}")
    return dict(await service.cli(*arguments))


if __name__ == "__main__":
    sys.exit(main())
