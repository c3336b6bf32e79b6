"""What this decoder reads, LNbits' own reads as the same: `bolt11`, in pure Python.

It is no strict decoder, and takes much that is refused here; so only what is read here counts.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import Bolt11, InvalidInvoice, Network
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash
from tests.backends import lnbits_venv
from tests.core.bolt11_forge import CHARSET, sealed
from tests.parts import require_real

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bolt11.json").read_text())
NETWORKS: tuple[Network, ...] = ("mainnet", "testnet", "signet", "regtest")
MADE = 200
CHANGED = 1000

# Reads one invoice a line, and tells one JSON value a line: what it read, or null.
THEIR_DECODER = """
import json, sys
import bolt11
for line in sys.stdin:
    try:
        read = bolt11.decode(line.strip())
        print(json.dumps([
            read.payment_hash, read.amount_msat, read.payee, read.date, read.expiry,
            read.min_final_cltv_expiry, read.payment_secret, read.description,
            read.description_hash,
        ]))
    except Exception:
        print("null")
"""

pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True)
class Read:
    """What both tell of an invoice."""

    payment_hash: str
    amount_msat: int | None
    payee: str
    created_at: int
    expiry_s: int
    min_final_cltv_delta: int
    payment_secret: str
    description: str | None
    description_hash: str | None


@pytest.fixture(scope="module")
def their_python() -> Path:
    python = lnbits_venv.venv_path() / "bin" / "python"
    require_real("LNbits", python.exists())
    return python


def theirs(python: Path, invoices: list[str]) -> list[Read | None]:
    done = subprocess.run(
        [python, "-c", THEIR_DECODER],
        input="\n".join(invoices) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return [_read(json.loads(line)) for line in done.stdout.splitlines()]


def _read(told: list[Any] | None) -> Read | None:
    return None if told is None else Read(*told)


def ours(invoice: str) -> Read | None:
    try:
        return _told(bolt11.decode(invoice))
    except InvalidInvoice:
        return None


def _told(read: Bolt11) -> Read:
    return Read(
        payment_hash=read.payment_hash,
        amount_msat=read.amount_msat,
        payee=read.payee,
        created_at=read.created_at,
        expiry_s=read.expiry_s,
        min_final_cltv_delta=read.min_final_cltv_delta,
        payment_secret=read.payment_secret,
        description=read.description,
        description_hash=read.description_hash,
    )


def made(random: Random) -> str:
    has_hash = random.random() < 0.3
    amount_msat = random.choice(
        (None, random.randint(1, 10**9), random.randint(1, 10**6) * 1000)
    )
    return bolt11.encode(
        network=random.choice(NETWORKS),
        amount_msat=None if amount_msat is None else Msat(min(amount_msat, MAX_MSAT)),
        payment_hash=PaymentHash(random.randbytes(32).hex()),
        payment_secret=random.randbytes(32).hex(),
        description=None if has_hash else random.choice(("", "tea", "Käse ☕", "x" * 600)),
        description_hash=random.randbytes(32).hex() if has_hash else None,
        created_at=random.randint(1_500_000_000, 2_000_000_000),
        expiry_s=random.choice((1, 60, 3600, 31_536_000)),
        min_final_cltv_delta=random.choice((1, 18, 144)),
        secret_key=random.randbytes(32),
    )


def changed(random: Random, invoice: str) -> str:
    """A word or two are others, and then it is signed and summed well again."""
    prefix, _, rest = invoice.rpartition("1")
    words = [CHARSET.index(char) for char in rest[:-110]]
    for _ in range(random.randint(1, 2)):
        words[random.randrange(7, len(words))] = random.randrange(32)
    return sealed(prefix, words)


def agreed(python: Path, invoices: list[str]) -> int:
    """How many were read here, each of them as LNbits reads it."""
    mine = [ours(invoice) for invoice in invoices]
    differing = [
        (invoice, here, there)
        for invoice, here, there in zip(invoices, mine, theirs(python, invoices), strict=True)
        if here is not None and here != there
    ]
    assert differing == []
    return sum(here is not None for here in mine)


def test_what_is_made_here(their_python: Path) -> None:
    random = Random(11)

    assert agreed(their_python, [made(random) for _ in range(MADE)]) == MADE


def test_the_examples_of_the_spec(their_python: Path) -> None:
    valid = [vector["invoice"].lower() for vector in VECTORS["valid"]]

    assert agreed(their_python, valid) >= len(valid) - 3
    assert agreed(their_python, [vector["invoice"] for vector in VECTORS["invalid"]]) == 0


@pytest.mark.attack("A5")
def test_what_is_changed_and_signed_again(their_python: Path) -> None:
    random = Random(12)
    invoices = [changed(random, made(random)) for _ in range(CHANGED)]

    read = agreed(their_python, invoices)

    assert CHANGED // 10 < read < CHANGED
