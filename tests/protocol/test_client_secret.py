"""The client's secret: in the connection URI, and nowhere else."""

import re
from pathlib import Path

import pytest

from nwc_service.nostr.keys import Keypair
from tests.protocol.wallet import WalletInProcess, wallet_in_process

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_every_uri_has_a_secret_of_its_own(wallet: WalletInProcess) -> None:
    """NIP-47: "`secret` Required. 32-byte randomly generated hex encoded string"; "The wallet
    service MUST use the corresponding public key of this secret to communicate with the
    client"."""
    clients = [await wallet.connect() for _ in range(3)]

    assert len({client.uri.secret for client in clients}) == 3
    for client in clients:
        assert re.fullmatch("[0-9a-f]{64}", client.uri.secret)
        of_the_secret = Keypair(bytes.fromhex(client.uri.secret)).public_key
        assert of_the_secret == client.connection.client_pubkey
        opened = await client.request("get_balance")
        assert opened.event.tags[0] == ("p", of_the_secret)


async def test_the_secret_is_in_no_file_of_the_service(tmp_path: Path) -> None:
    """NIP-47: "The wallet service SHOULD NOT store the secret it generates for the client";
    "MUST NOT rely on the knowing the client secret for general operation"."""
    async with wallet_in_process(tmp_path) as wallet:
        client = await wallet.connect()
        paid = await client.pay(await wallet.outside_invoice())
        await wallet.idle()

    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert paid.error_code is None
    assert any(client.connection.connection_id.encode() in kept for kept in files.values())
    for name, kept in files.items():
        assert client.uri.secret.encode() not in kept, name
        assert bytes.fromhex(client.uri.secret) not in kept, name
