"""The client libraries that the tests speak through, and what each of them has."""

import json
from dataclasses import dataclass
from importlib.metadata import version

from tests.clients.conversation import NIP04, NIP44_V2
from tests.clients.install import JS_DIR

BOTH = (NIP44_V2, NIP04)
NOTIFICATIONS = ("payment_received", "payment_sent", "hold_invoice_accepted")

_COMMON = (
    "pay_invoice",
    "make_invoice",
    "lookup_invoice",
    "list_transactions",
    "get_balance",
    "get_info",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """`package` is its name at npm, or at PyPI where it has no `module` in js/.

    It has a call of its own for each method in `own`, which speaks `own_encryption`; where it
    is `generic` it also has the means for any other method. `patience_s` is how long it
    waits for an answer to a payment, unless it is told; None is for ever. `links` says that it
    can ask for a connection with a `nostr+walletauth` link.
    """

    package: str
    module: str | None
    own: tuple[str, ...]
    own_encryption: tuple[str, ...] = BOTH
    generic: bool = False
    notifications: tuple[str, ...] = NOTIFICATIONS
    tells_codes: bool = True
    patience_s: int | None
    patience_is_chosen: bool = True
    links: bool = False

    def __str__(self) -> str:
        return self.package

    @property
    def registry(self) -> str:
        return "PyPI" if self.module is None else "npm"

    @property
    def version(self) -> str:
        if self.module is None:
            return version(self.package)
        locked = json.loads((JS_DIR / "package.json").read_text())
        return str(locked["dependencies"][self.package])

    @property
    def patience(self) -> str:
        by_itself = "for ever" if self.patience_s is None else f"{self.patience_s} s"
        return by_itself + (" unless it is told how long" if self.patience_is_chosen else "")

    @property
    def gives_up(self) -> bool:
        return self.patience_s is not None or self.patience_is_chosen

    @property
    def encryption(self) -> tuple[str, ...]:
        return BOTH if self.generic else self.own_encryption

    def has_own(self, method: str, encryption: str) -> bool:
        return method in self.own and encryption in self.own_encryption

    def can_call(self, method: str, encryption: str) -> bool:
        return self.generic or self.has_own(method, encryption)


ALBY = Library(
    package="@getalby/sdk",
    module="alby",
    own=(
        *_COMMON,
        "pay_keysend",
        "make_hold_invoice",
        "settle_hold_invoice",
        "cancel_hold_invoice",
        "get_budget",
        "sign_message",
        "create_connection",
        "multi_pay_invoice",
        "multi_pay_keysend",
    ),
    patience_s=60,
    patience_is_chosen=False,
    links=True,
)
NDK = Library(
    package="@nostr-dev-kit/wallet",
    module="ndk",
    own=_COMMON,
    own_encryption=(NIP04,),
    notifications=(),
    patience_s=None,
)
APPLESAUCE = Library(
    package="applesauce-wallet-connect",
    module="applesauce",
    own=(*_COMMON, "pay_keysend", "multi_pay_invoice", "multi_pay_keysend"),
    generic=True,
    tells_codes=False,
    patience_s=30,
    links=True,
)
NOSTR_TOOLS = Library(
    package="nostr-tools",
    module="nostr-tools",
    own=("pay_invoice",),
    own_encryption=(NIP04,),
    generic=True,
    patience_s=None,
    patience_is_chosen=False,
)
NOSTR_SDK = Library(
    package="nostr-sdk",
    module=None,
    own=(*_COMMON, "pay_keysend"),
    patience_s=10,
)
LIBRARIES = (ALBY, NDK, APPLESAUCE, NOSTR_TOOLS, NOSTR_SDK)
