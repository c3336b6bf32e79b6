"""Runs an image's program as its user, on a root that nobody can write to.

No container engine: those want control groups, which a machine that runs tests may not give. A
mount namespace and chroot are what the service sees of one: the image's files read-only, its
volume, a /tmp, and nothing else of the machine but its network.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.image.build import Image

NOTHING: Mapping[str, str] = {}
SCRIPT = """
set -e
root=$1 data=$2 volume=$3 user=$4
shift 4
mount --bind "$root" "$root"
mount --bind "$data" "$root$volume"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" "$root" env -i "$@"
"""


def command(
    image: Image, data: Path, *, environment: Mapping[str, str] = NOTHING
) -> Sequence[str]:
    """What runs the image's program in the foreground; arguments for it may follow."""
    (volume,) = image.volumes
    said = {**image.environment, **environment}
    return (
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "container"),
        *(str(image.root), str(data), volume, image.user),
        *(f"{name}={value}" for name, value in said.items()),
        *image.entrypoint,
    )


def user_id(image: Image) -> int:
    """Of the image's own passwd file."""
    lines = (image.root / "etc" / "passwd").read_text().splitlines()
    ids = {line.split(":")[0]: int(line.split(":")[2]) for line in lines}
    return ids[image.user]
