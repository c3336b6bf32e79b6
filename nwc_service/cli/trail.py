"""The history of a payment for people: what it is, and below it what happened."""

from typing import cast

from nwc_service.cli.common import show, show_list
from nwc_service.views import View

HEAD = (
    "payment_id",
    "account",
    "connection_id",
    "direction",
    "payment_hash",
    "backend",
    "state",
    "row_state",
    "backend_says",
    "heard",
    "heard_at",
    "proof",
    "preimage",
)
TABLES = {
    "entries": ("created_at", "kind", "amount_msat", "from", "to"),
    "receipts": ("created_at", "amount_msat", "htlc_set", "assigned_to"),
    "requests": ("claimed_at", "answered_at", "method", "request_id"),
    "alarms": ("raised_at", "kind", "detail"),
    "decisions": ("decided_at", "kind", "reason"),
}


def show_trail(view: View, *, as_json: bool) -> None:
    if as_json:
        show(view, as_json=True)
        return
    show({name: view[name] for name in HEAD if name in view}, as_json=False)
    print()
    rest = view.keys() - set(HEAD) - set(TABLES)
    show({name: value for name, value in view.items() if name in rest}, as_json=False)
    for name, columns in TABLES.items():
        if rows := cast("list[View]", view.get(name)):
            print(f"\n{name}")
            show_list([_short(row) for row in rows], as_json=False, columns=columns)


def _short(row: View) -> View:
    """All entries are one account's, so its id says nothing here; a node's name does."""
    if "source" not in row:
        return row
    return row | {"from": _book(row["source"]), "to": _book(row["destination"])}


def _book(ledger_account: object) -> str:
    name, _, owner = str(ledger_account).partition(":")
    return f"{name} {owner}" if name == "node" else name
