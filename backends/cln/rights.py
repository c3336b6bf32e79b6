"""The rune that this backend needs, and whether the one it has allows more."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from nwc_service.backend import BadRequest

# Every call of this backend.
NEEDED = (
    "getinfo",
    "help",
    "listconfigs",
    "listpeerchannels",
    "wait",
    "decode",
    "signmessage",
    "invoice",
    "listinvoices",
    "delinvoice",
    "waitanyinvoice",
    "xpay",
    "getroutes",
    "createonion",
    "injectpaymentonion",
    "listsendpays",
    "fetchinvoice",
    "offer",
    "createoffer",
    "listoffers",
    "signinvoice",
    "injectholdinvoice",
    "listholdinvoices",
    "settleholdinvoice",
    "cancelholdinvoice",
    "checkrune",
)
# Of a plugin that a node need not have.
HOLD = (
    "injectholdinvoice",
    "listholdinvoices",
    "settleholdinvoice",
    "cancelholdinvoice",
)
# All that may be read of the node's configuration, which has passwords too.
SLOW_MODE, HOLD_DEADLINE = "xpay-slow-mode", "hold-expiry-deadline"

# What a rune must refuse: it moves money around `xpay`, forgets a payment, or makes rights.
FORBIDDEN = (
    "withdraw",
    "close",
    "fundchannel",
    "createrune",
    "setconfig",
    "plugin",
    "pay",
    "renepay",
    "sendpay",
    "keysend",
    "xkeysend",
    "delpay",
)

CREATE = "create one as `nwc-service backend bake cln` prints"
NARROW = f"{CREATE}, or set allow_broad_rune = true"


@dataclass(frozen=True, slots=True)
class RuneRights:
    missing: Sequence[str]
    excess: Sequence[str]
    may_hold: bool  # it allows what the plugin has

    @property
    def too_few(self) -> str:
        return f"the rune does not allow {', '.join(self.missing)}"

    @property
    def too_many(self) -> str:
        return f"the rune allows more than is needed: {', '.join(self.excess)}"


def bake_command(*, save_to: str | None = None, root_key_id: int | None = None) -> str:
    """The command for CLN's host. Raises BadRequest."""
    if save_to is not None or root_key_id is not None:
        raise BadRequest("createrune prints a rune: it knows no file and no root key id")
    methods = [f"method={method}" for method in NEEDED]
    configs = [f"pnameconfig={config}" for config in (SLOW_MODE, HOLD_DEADLINE)]
    restrictions = json.dumps([methods, ["method/listconfigs", *configs]])
    return f"lightning-cli -k createrune restrictions={shlex.quote(restrictions)}"
