"""What a wallet says of a description hash, by what its node can put into an invoice."""

from hashlib import sha256

import pytest

from nwc_service.backend import Cap
from nwc_service.methods.make_invoice import MakeInvoice, _check
from nwc_service.wallet.errors import RequestError

TEXT = "a long story"
DIGEST = sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize(
    ("caps", "description"),
    [
        (Cap.DESCRIPTION_HASH, None),
        (Cap.DESCRIPTION_HASH, "another text"),
        (Cap.HASHED_DESCRIPTION, TEXT),
    ],
)
def test_it_is_taken_where_the_node_can_make_it(caps: Cap, description: str | None) -> None:
    _check(params(description), Cap.MSAT_INVOICE | caps)


@pytest.mark.parametrize(
    ("caps", "description", "says"),
    [
        (Cap.SIGN, TEXT, "not supported by this wallet"),
        (Cap.HASHED_DESCRIPTION, None, "needs the text that it is of"),
        (Cap.HASHED_DESCRIPTION, "another text", "needs the text that it is of"),
    ],
)
def test_it_is_refused_before_the_node_hears_of_it(
    caps: Cap, description: str | None, says: str
) -> None:
    with pytest.raises(RequestError, match=says):
        _check(params(description), Cap.MSAT_INVOICE | caps)


def params(description: str | None) -> MakeInvoice:
    return MakeInvoice(amount=21_000, description=description, description_hash=DIGEST)
