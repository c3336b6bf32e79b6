"""Finds what is wrong around the service, and says how to mend it.

It changes nothing, and works with the service running or stopped. What a backend says of
itself is asked by its own check.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from nwc_service.backend import Finding
from nwc_service.config import Settings
from nwc_service.doctor import backups, books, disk, files, ports, relays, settings

__all__ = ["examine"]


async def examine(chosen: Settings, *, config: Path | None) -> Sequence[Finding]:
    """One fact each; those with a remedy are wrong. `config` is the file that was read."""
    data_dir = chosen.data_dir
    found = [*settings.look(chosen), *files.look(chosen, config=config)]
    if not data_dir.exists():
        return [*found, *await relays.look(chosen.relay.urls, now=time.time)]
    known = await books.look(chosen, now=time.time())
    measured = await asyncio.to_thread(disk.look, data_dir)
    running = await ports.look(chosen, known=known.ports)
    reached = await relays.look(_relay_urls(chosen, running), now=time.time)
    saved = backups.look(chosen, now=time.time())
    return [*found, *measured, *saved, *known.findings, *running.findings, *reached]


def _relay_urls(chosen: Settings, running: ports.Running) -> Sequence[str]:
    """Those that are up if all is well: its own relay lives as long as the service does."""
    if chosen.relay.urls:
        return chosen.relay.urls
    if not running.is_up or chosen.relay.public_url is None:
        return ()
    return (chosen.relay.public_url,)
