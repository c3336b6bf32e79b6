"""What a macaroon allows, and which one this backend takes."""

from pathlib import Path

import pytest

from backends.lnd import LndBackend, bake_command, rights
from nwc_service.backend import BackendUnavailable
from nwc_service.wallet.units import BackendName
from tests.backends.lnd_double import lnd_double
from tests.backends.lnd_rows import MACAROON, a_backend, a_macaroon

# As LND v0.21.2 makes them, without their signatures.
READ_INFO = bytes.fromhex(
    "0201036c6e640224030a109ee0ccc1d7099897026599e514214b5c1201301a0c0a04696e666f1204726561"
    "64000006" + "20" + "00" * 32
)
ADMIN = (
    b"\x02\x01\x03lnd\x02\xf8\x01\x03\n\x10\x98\xe0\xcc\xc1\xd7\t\x98\x97\x02e\x99\xe5\x14!K\\"
    b"\x12\x010\x1a\x16\n\x07address\x12\x04read\x12\x05write\x1a\x13\n\x04info\x12\x04read\x12"
    b"\x05write\x1a\x17\n\x08invoices\x12\x04read\x12\x05write\x1a!\n\x08macaroon\x12\x08generate"
    b"\x12\x04read\x12\x05write\x1a\x16\n\x07message\x12\x04read\x12\x05write\x1a\x17\n\x08offchai"
    b"n\x12\x04read\x12\x05write\x1a\x16\n\x07onchain\x12\x04read\x12\x05write\x1a\x14\n\x05peers"
    b"\x12\x04read\x12\x05write\x1a\x18\n\x06signer\x12\x08generate\x12\x04read\x00\x00\x06 "
    + bytes(32)
)

ALL = [("uri", uri) for uri in rights.NEEDED]
BROAD = sorted(set(rights.NEEDED.values()))


def test_the_rights_of_lnds_own_macaroons_are_read() -> None:
    assert rights.operations(READ_INFO) == {("info", "read")}
    assert len(rights.operations(ADMIN)) == 19
    assert ("offchain", "write") in rights.operations(ADMIN)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01" + READ_INFO[1:], id="another-version"),
        pytest.param(READ_INFO[:20], id="cut"),
        pytest.param(b"\x02\x00", id="no-identifier"),
        pytest.param(b"\x02\x02\x03\x02ab", id="another-identifier"),
        pytest.param(b"\x02\x02\x03\x03\x18\x01", id="a-number-in-it"),
        pytest.param(b"\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="endless"),
        pytest.param(b"lsat-token", id="text"),
    ],
)
def test_what_is_no_macaroon_of_lnd_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        rights.operations(broken)


def test_the_baked_one_has_what_is_needed_and_no_more() -> None:
    granted = rights.operations(a_macaroon(*ALL))

    assert rights.missing(granted) == []
    assert rights.excess(granted) == []


def test_a_broad_right_allows_the_calls_and_more() -> None:
    granted = rights.operations(a_macaroon(*BROAD))

    assert rights.missing(granted) == []
    assert rights.excess(granted) == sorted(f"{entity}:{action}" for entity, action in BROAD)


def test_the_command_names_every_right_once() -> None:
    command = bake_command("/etc/nwc/lnd.macaroon", root_key_id=7).split()

    assert command[:4] == [
        "lncli",
        "bakemacaroon",
        "--save_to=/etc/nwc/lnd.macaroon",
        "--root_key_id=7",
    ]
    assert command[4:] == [f"uri:{uri}" for uri in rights.NEEDED]


@pytest.mark.parametrize(
    ("macaroon", "words"),
    [
        pytest.param(ADMIN, "allows more than is needed: address:read", id="admin"),
        pytest.param(a_macaroon(*ALL, ("peers", "write")), "peers:write", id="one-too-many"),
        pytest.param(a_macaroon(*ALL[1:]), f"does not allow {ALL[0][1]}", id="one-too-few"),
        pytest.param(b"nonsense", "cannot be read", id="none"),
    ],
)
async def test_another_macaroon_is_refused_before_lnd_is_asked(
    macaroon: bytes, words: str
) -> None:
    async with lnd_double() as double:
        backend = a_backend(double.url, macaroon_hex=macaroon.hex())

        with pytest.raises(BackendUnavailable) as refused:
            await backend.start()

        assert words in str(refused.value)
        assert rights.BAKE in str(refused.value)
        assert macaroon.hex()[:16] not in str(refused.value)
        assert double.requests == []


async def test_a_broad_macaroon_is_taken_where_that_is_said() -> None:
    async with lnd_double() as double:
        options = {"macaroon_hex": a_macaroon(*BROAD).hex(), "allow_broad_macaroon": True}
        backend = a_backend(double.url, **options)

        await backend.start()

        assert double.requests[0].macaroon == options["macaroon_hex"]
        await backend.close()


async def test_a_macaroon_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lnd.macaroon"
    path.write_bytes(bytes.fromhex(MACAROON))
    async with lnd_double() as double:
        options = {"url": double.url, "macaroon_path": str(path)}
        backend = LndBackend(BackendName("mine"), options, data_dir=tmp_path)

        await backend.start()

        assert double.requests[0].macaroon == MACAROON
        await backend.close()


async def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    options = {"url": "https://127.0.0.1:8080", "macaroon_path": tmp_path / "none"}
    backend = LndBackend(BackendName("mine"), options, data_dir=tmp_path)

    with pytest.raises(BackendUnavailable, match="macaroon_path cannot be read"):
        await backend.start()
