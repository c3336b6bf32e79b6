"""Whether the disk has room, keeps what it is told, and how fast it says that it has."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from nwc_service.backend import Finding

SUBJECT = "disk"
MIN_FREE_BYTES = 1 << 30
MIN_FREE_INODES = 1000
SLOW_S = 0.05
NO_DISK_S = 5e-6
"""Not even a disk with a battery answers as fast."""
ROUNDS = 20
BLOCK = b"\0" * 4096

FORGETS = {
    "tmpfs": "it is in memory",
    "ramfs": "it is in memory",
    "overlay": "it is the inside of a container, and goes with it",
}
CANNOT_LOCK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "fuse.s3fs",
    "vboxsf",
)

MOUNTS = Path("/proc/self/mountinfo")


def look(
    data_dir: Path,
    *,
    mounts: Path = MOUNTS,
    fsync: Callable[[int], object] = os.fsync,
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
) -> Sequence[Finding]:
    return [*_room(data_dir, usage), *_filesystem(data_dir, mounts), *_speed(data_dir, fsync)]


def _room(data_dir: Path, usage: Callable[[Path], tuple[int, int, int]]) -> Iterator[Finding]:
    *_, free_bytes = usage(data_dir)
    inodes = os.statvfs(data_dir)
    says = f"{free_bytes / (1 << 30):.1f} GiB are free"
    is_short = free_bytes < MIN_FREE_BYTES
    remedy = "make room: a full disk stops every payment" if is_short else None
    yield Finding(SUBJECT, says, remedy)
    if inodes.f_files > 0 and inodes.f_favail < MIN_FREE_INODES:
        yield Finding(SUBJECT, f"{inodes.f_favail} inodes are free", "remove small files")


def _filesystem(data_dir: Path, mounts: Path) -> Iterator[Finding]:
    kind = filesystem_of(data_dir, mounts)
    if kind is None:
        return
    if kind in FORGETS:
        yield Finding(
            SUBJECT,
            f"{data_dir} is on {kind}: {FORGETS[kind]}",
            "use a directory on a disk; in a container, a volume",
        )
    elif kind in CANNOT_LOCK:
        yield Finding(
            SUBJECT,
            f"{data_dir} is on {kind}, where SQLite's locks and shared memory do not hold",
            "use a disk of this machine",
        )
    else:
        yield Finding(SUBJECT, f"{data_dir} is on {kind}")


def filesystem_of(path: Path, mounts: Path) -> str | None:
    """Of the innermost mount that holds the path; None where that is not known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    resolved, found = path.resolve(), {}
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        if resolved.is_relative_to(point):
            found[len(point.parts)] = after.split()[0]
    return found[max(found)] if found else None


def _speed(data_dir: Path, fsync: Callable[[int], object]) -> Iterator[Finding]:
    try:
        took_s = _fsync_s(data_dir, fsync)
    except OSError as error:
        yield Finding(SUBJECT, f"cannot be written: {error.strerror}", "see the kernel's log")
        return
    says = f"a commit takes {took_s * 1000:.2f} ms"
    remedy = None
    if took_s > SLOW_S:
        says += ": every payment waits for four of them"
        remedy = "use a faster disk, an SSD with a power-loss buffer at best"
    elif took_s < NO_DISK_S:
        says += ", which no disk can: what it says to have stored, it has not"
        remedy = "switch on write barriers; for a virtual disk, a cache mode other than unsafe"
    yield Finding(SUBJECT, says, remedy)


def _fsync_s(data_dir: Path, fsync: Callable[[int], object]) -> float:
    """The middle of several."""
    took_s = []
    with tempfile.TemporaryFile(dir=data_dir, prefix="doctor-", buffering=0) as file:
        for _ in range(ROUNDS):
            file.write(BLOCK)
            began = time.perf_counter()
            fsync(file.fileno())
            took_s.append(time.perf_counter() - began)
    return median(took_s)
