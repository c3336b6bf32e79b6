"""Every key of the service, derived from one master key.

The master key and the database together restore everything; neither alone does.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from pathlib import Path

from nwc_service import passphrase
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.envelope import Channel
from nwc_service.nostr.keys import InvalidKey, Keypair, PublicKey
from nwc_service.sealed_key import is_sealed, seal, unseal
from nwc_service.wallet.units import ConnectionId, InvoiceId, Preimage

MASTER_KEY_BYTES = 32
# Connections that are busy at one time; a channel takes about 1 kB.
CHANNELS = 4096


class Keyring:
    def __init__(self, master_key: bytes) -> None:
        """Raises ValueError unless `master_key` has 32 bytes."""
        if len(master_key) != MASTER_KEY_BYTES:
            raise ValueError("the master key has 32 bytes")
        self._master_key = master_key
        self._channel = lru_cache(maxsize=CHANNELS)(self._make_channel)

    @property
    def fingerprint(self) -> str:
        """Tells whether a database belongs to this master key, and nothing else."""
        return self._derive("fingerprint", "").hex()

    def sealed(self, words: str) -> str:
        """The master key under a passphrase. Raises ValueError for one that is too short."""
        return seal(self._master_key, words)

    def wallet_pubkey(self, connection_id: ConnectionId) -> PublicKey:
        return self.wallet_keypair(connection_id).public_key

    def wallet_keypair(self, connection_id: ConnectionId) -> Keypair:
        return self._keypair("connection-key", connection_id)

    def zap_keypair(self) -> Keypair:
        """Signs the receipts of all zaps (NIP-57), and nothing else."""
        return self._keypair("zap-key", "")

    def channel(self, connection: Connection) -> Channel:
        return self._channel(connection.connection_id, PublicKey(connection.client_pubkey))

    def invoice_preimage(self, invoice_id: InvoiceId) -> Preimage:
        """The same again after a crash, so that a lost reply of the node can be repaired."""
        return Preimage(self._derive("invoice-preimage", invoice_id).hex())

    def verify_token(self, invoice_id: InvoiceId) -> str:
        """Who has it may ask whether this invoice is paid (LUD-21)."""
        return self._derive("verify-token", invoice_id).hex()[:32]

    def _keypair(self, purpose: str, subject: str) -> Keypair:
        for attempt in range(256):
            try:
                return Keypair(self._derive(purpose, f"{subject}/{attempt}"))
            except InvalidKey:  # one time in 2^128
                continue
        raise AssertionError("256 derived keys in a row are out of range")

    def _make_channel(self, connection_id: ConnectionId, client_pubkey: PublicKey) -> Channel:
        return Channel.between(self.wallet_keypair(connection_id), client_pubkey)

    def _derive(self, purpose: str, subject: str) -> bytes:
        return digest(self._master_key, f"nwc-service/{purpose}/{subject}".encode(), sha256)


def open_master_key(path: Path, *, ask: Callable[[], str] = passphrase.ask) -> bytes:
    """Read the master key, or make one at the first start; one that is sealed is opened with
    the passphrase that `ask` gives. Raises ValueError."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return _create(path)
    if is_sealed(text):
        try:
            master_key = unseal(text, ask())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    else:
        master_key = _from_hex(text)
    if len(master_key) != MASTER_KEY_BYTES:
        raise ValueError(f"{path} does not hold a master key: 64 hex digits")
    return master_key


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _create(path: Path) -> bytes:
    master_key = os.urandom(MASTER_KEY_BYTES)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(master_key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return master_key
