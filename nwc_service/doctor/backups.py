"""Whether there is a backup, and how old it is."""

from collections.abc import Iterator

from nwc_service.backend import Finding
from nwc_service.backups import newest_at
from nwc_service.config import Settings

SUBJECT = "backup"
LATE = 2
"""So many times as old as it may get."""


def look(chosen: Settings, *, now: float) -> Iterator[Finding]:
    settings = chosen.backup
    if settings.directory is None:
        says = "none is made by itself: `nwc-service backup FILE` makes one"
        yield Finding(SUBJECT, says)
        return
    if settings.passphrase_file is None or not settings.passphrase_file.exists():
        yield Finding(
            SUBJECT,
            "backup.passphrase_file is not there, so none can be made",
            "name a file whose first line is the passphrase of the backups",
        )
    newest = newest_at(settings.directory)
    age_s = None if newest is None else int(now - newest)
    if age_s is None or age_s > LATE * settings.every_s:
        says = "there is none yet" if age_s is None else f"the newest is {age_s} s old"
        yield Finding(
            SUBJECT,
            f"{settings.directory}: {says}",
            "start the service, and see its log and `nwc-service alarm list`",
        )
    else:
        yield Finding(SUBJECT, f"the newest is {age_s} s old")
