"""The simulated chain: a block every ten minutes of the clock, and what is mined besides."""

from hashlib import sha256

GENESIS_AT = 1_296_688_602  # regtest's own
BLOCK_S = 600


def block_height(*, now: int, mined_blocks: int) -> int:
    return max(0, (now - GENESIS_AT) // BLOCK_S) + mined_blocks


def block_hash(height: int) -> str:
    return sha256(b"sandbox block %d" % height).hexdigest()
