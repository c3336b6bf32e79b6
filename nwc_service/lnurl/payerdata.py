"""What a payer says of himself (LUD-18). Nobody has checked it."""

import re
from collections.abc import Mapping

from nwc_service.nip47 import strict_json

PayerData = Mapping[str, str]

MAX_PAYERDATA_CHARACTERS = 1000
FIELDS = ("name", "pubkey", "identifier", "email")
OFFERED: Mapping[str, object] = {field: {"mandatory": False} for field in FIELDS}

_PUBKEY = re.compile(r"(0[23])?[0-9a-f]{64}")


class InvalidPayerData(ValueError):
    """The message is for the payer."""


def parse_payerdata(raw: str) -> PayerData:
    """Those fields that were offered; others are dropped, though the hash is over all of `raw`.

    Raises InvalidPayerData.
    """
    if len(raw) > MAX_PAYERDATA_CHARACTERS:
        raise InvalidPayerData(f"payerdata: more than {MAX_PAYERDATA_CHARACTERS} characters")
    try:
        found = strict_json.loads(raw)
    except strict_json.NotStrictJson:
        found = None
    if not isinstance(found, dict):
        raise InvalidPayerData("payerdata: not a JSON object")
    said = {field: found[field] for field in FIELDS if found.get(field) is not None}
    for field, value in said.items():
        if not isinstance(value, str):
            raise InvalidPayerData(f"payerdata: {field} is not a text")
    if "pubkey" in said and not _PUBKEY.fullmatch(said["pubkey"]):
        raise InvalidPayerData("payerdata: pubkey is not a public key as hex")
    return said
