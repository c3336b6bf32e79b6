"""What a method must do for an app, with exact figures: one check a method."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from secrets import token_bytes
from urllib.parse import parse_qs, urlsplit

from nwc_service.methods import METHODS
from nwc_service.nostr.keys import Keypair
from nwc_service.wallet import bolt11
from tests.clients.apps import CREDIT_MSAT, App
from tests.clients.client import JsonObject
from tests.clients.raw import ConnectionUri, raw_client
from tests.e2e.conftest import node_rows, proves, until

AMOUNT_MSAT = 21_000
FEE_MSAT = 1_000  # the sandbox's least
COST_MSAT = AMOUNT_MSAT + FEE_MSAT
BUDGET_MSAT = 50_000

Check = Callable[[App], Awaitable[None]]


async def pay_invoice(app: App) -> None:
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)

    paid = await app.client.pay_invoice(invoice)

    assert proves(paid["preimage"], bolt11.decode(invoice).payment_hash)
    assert paid["fees_paid"] == FEE_MSAT
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT


async def make_invoice(app: App) -> None:
    made = await app.client.make_invoice(AMOUNT_MSAT, description="two teas", expiry=600)

    read = bolt11.decode(made["invoice"])
    assert (read.amount_msat, read.description, read.expiry_s) == (AMOUNT_MSAT, "two teas", 600)
    assert made["payment_hash"] == read.payment_hash
    assert made["expires_at"] == made["created_at"] + 600


async def lookup_invoice(app: App) -> None:
    made = await app.client.make_invoice(AMOUNT_MSAT)
    waiting = await app.client.lookup_invoice(payment_hash=made["payment_hash"])
    await app.outside.pay(made["invoice"])
    await has(app, CREDIT_MSAT + AMOUNT_MSAT)
    found = await app.client.lookup_invoice(invoice=made["invoice"])

    assert (waiting["state"], waiting.get("preimage") or None) == ("pending", None)
    assert (found["state"], found["amount"]) == ("settled", AMOUNT_MSAT)
    assert found["settled_at"] >= found["created_at"]
    assert proves(found["preimage"], made["payment_hash"])


async def list_transactions(app: App) -> None:
    unpaid = await app.client.make_invoice(AMOUNT_MSAT)
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)
    await app.client.pay_invoice(invoice)

    paid = await app.client.list_transactions()
    incoming = await app.client.list_transactions(unpaid=True, type="incoming", limit=5)

    assert [(one["invoice"], one["type"], one["fees_paid"]) for one in paid] == [
        (invoice, "outgoing", FEE_MSAT)
    ]
    assert [(one["invoice"], one["state"]) for one in incoming] == [
        (unpaid["invoice"], "pending")
    ]


async def get_balance(app: App) -> None:
    assert await app.client.balance() == CREDIT_MSAT


async def get_info(app: App) -> None:
    info = await app.client.info()

    told = await app.ask_raw("get_info")
    for field in ("alias", "network", "pubkey", "methods", "notifications"):
        assert info[field] == told[field], field


async def get_budget(app: App) -> None:
    await app.client.pay_invoice(await app.outside.make_invoice(AMOUNT_MSAT))

    budget = await app.client.request("get_budget")

    assert (budget["used_budget"], budget["total_budget"]) == (COST_MSAT, BUDGET_MSAT)
    assert budget["renewal_period"] == "daily"
    assert budget["renews_at"] % 86_400 == 0


async def sign_message(app: App) -> None:
    signed = await app.client.request("sign_message", {"message": "two teas ☕"})

    assert signed["message"] == "two teas ☕"
    assert signed == await app.ask_raw("sign_message", message="two teas ☕")


async def pay_keysend(app: App) -> None:
    paid = await app.client.request("pay_keysend", await keysend(app))

    [sent] = await app.client.list_transactions()
    assert (sent["type"], sent["amount"], sent["state"]) == ("outgoing", AMOUNT_MSAT, "settled")
    assert proves(paid["preimage"], sent["payment_hash"])
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT


async def make_hold_invoice(app: App) -> None:
    preimage = token_bytes(32)

    made = await app.client.request("make_hold_invoice", hold(preimage))

    read = bolt11.decode(made["invoice"])
    assert (read.amount_msat, read.description) == (AMOUNT_MSAT, "a hold")
    assert read.payment_hash == made["payment_hash"] == sha256(preimage).hexdigest()


async def settle_hold_invoice(app: App) -> None:
    preimage = token_bytes(32)
    await accepted(app, preimage)

    await app.client.request("settle_hold_invoice", {"preimage": preimage.hex()})

    await has(app, CREDIT_MSAT + AMOUNT_MSAT)


async def cancel_hold_invoice(app: App) -> None:
    payment_hash = await accepted(app, token_bytes(32))

    await app.client.request("cancel_hold_invoice", {"payment_hash": payment_hash})

    [row] = await node_rows(app.service, payment_hash)
    assert row[3] == "failed"
    assert await app.balance_msat() == CREDIT_MSAT


async def multi_pay_invoice(app: App) -> None:
    invoices = {name: await app.outside.make_invoice(AMOUNT_MSAT) for name in "ab"}
    items = [{"id": name, "invoice": invoice} for name, invoice in invoices.items()]

    paid = await app.client.request("multi_pay_invoice", {"invoices": items})

    assert {one["dTag"] for one in paid["invoices"]} == invoices.keys()
    for one in paid["invoices"]:
        payment_hash = bolt11.decode(invoices[one["dTag"]]).payment_hash
        assert proves(one["preimage"], payment_hash)
        assert one["fees_paid"] == FEE_MSAT
    assert await app.balance_msat() == CREDIT_MSAT - 2 * COST_MSAT


async def multi_pay_keysend(app: App) -> None:
    items = [{"id": name, **await keysend(app)} for name in "ab"]

    paid = await app.client.request("multi_pay_keysend", {"keysends": items})

    assert {one["dTag"] for one in paid["keysends"]} == {"a", "b"}
    assert len({one["preimage"] for one in paid["keysends"]}) == 2
    assert await app.balance_msat() == CREDIT_MSAT - 2 * COST_MSAT


async def create_connection(app: App) -> None:
    secret = token_bytes(32)
    pubkey = Keypair(secret).public_key
    wish = {"pubkey": pubkey, "name": "tea", "request_methods": ["get_balance"]}

    created = await app.client.request("create_connection", wish)

    relay = ConnectionUri.parse(app.uri).relays[0]
    uri = f"nostr+walletconnect://{created['wallet_pubkey']}?relay={relay}"
    async with raw_client(f"{uri}&secret={secret.hex()}") as client:
        balance = await client.request("get_balance", encryption=app.encryption)
        refused = await client.request(
            "make_invoice", {"amount": AMOUNT_MSAT}, encryption=app.encryption
        )
    assert balance.result == {"balance": CREDIT_MSAT}
    assert refused.error_code == "RESTRICTED"


async def pay(app: App) -> None:
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)

    paid = await app.client.request("pay", {"payment": f"bitcoin:?lightning={invoice}"})

    assert (paid["state"], paid["instruction_type"]) == ("settled", "bolt11")
    assert (paid["amount"], paid["fees_paid"]) == (AMOUNT_MSAT, FEE_MSAT)
    assert proves(paid["preimage"], bolt11.decode(invoice).payment_hash)
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT


async def receive(app: App) -> None:
    asked = await app.client.request("receive", {"amount": AMOUNT_MSAT, "description": "tea"})

    [invoice] = parse_qs(urlsplit(asked["bip321"]).query)["lightning"]
    read = bolt11.decode(invoice)
    assert (read.amount_msat, read.description) == (AMOUNT_MSAT, "tea")
    await app.outside.pay(invoice)
    await has(app, CREDIT_MSAT + AMOUNT_MSAT)


async def lookup_payment(app: App) -> None:
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)
    paid = await app.client.pay_invoice(invoice)
    payment_hash = bolt11.decode(invoice).payment_hash

    found = await app.client.request("lookup_payment", {"payment_hash": payment_hash})

    assert (found["type"], found["state"]) == ("outgoing", "settled")
    assert (found["payment_type"], found["amount"]) == ("bolt11", AMOUNT_MSAT)
    assert found["fees_paid"] == FEE_MSAT
    assert found["details"]["preimage"] == paid["preimage"]


async def make_offer(app: App) -> None:
    made = await app.client.request(
        "make_offer", {"amount": AMOUNT_MSAT, "description": "two teas"}
    )

    assert made["offer"].startswith("lno1")
    assert made["offer"] in made["bip321"]
    assert (made["amount"], made["description"]) == (AMOUNT_MSAT, "two teas")
    await app.service.sandbox("pay-offer", offer=made["offer"])
    await has(app, CREDIT_MSAT + AMOUNT_MSAT)


CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        pay_invoice,
        make_invoice,
        lookup_invoice,
        list_transactions,
        get_balance,
        get_info,
        get_budget,
        sign_message,
        pay_keysend,
        make_hold_invoice,
        settle_hold_invoice,
        cancel_hold_invoice,
        multi_pay_invoice,
        multi_pay_keysend,
        create_connection,
        pay,
        receive,
        lookup_payment,
        make_offer,
    )
}

_HOLD = ("make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice")
_BUDGET = {"budget_msat": BUDGET_MSAT, "budget_renewal": "daily"}


def wishes(row: str) -> JsonObject:
    """What the connection must be like."""
    more = _HOLD if row in (*_HOLD, "hold_invoice_accepted") else (row,)
    scopes = ["full", *(METHODS.keys() & set(more))]
    return {"scopes": ",".join(scopes), **(_BUDGET if row == "get_budget" else {})}


async def has(app: App, amount_msat: int) -> None:
    """Wait until it has."""

    async def so() -> bool:
        return await app.balance_msat() == amount_msat

    await until(so)


async def keysend(app: App) -> JsonObject:
    """To the outside node, whose key is in its invoices."""
    payee = bolt11.decode(await app.outside.make_invoice(AMOUNT_MSAT)).payee
    records = [{"type": 7629169, "value": b"{}".hex()}]
    return {"pubkey": payee, "amount": AMOUNT_MSAT, "tlv_records": records}


def hold(preimage: bytes) -> JsonObject:
    return {
        "amount": AMOUNT_MSAT,
        "payment_hash": sha256(preimage).hexdigest(),
        "description": "a hold",
    }


async def accepted(app: App, preimage: bytes) -> str:
    """The hash of a hold invoice whose payment the outside node has locked."""
    made = await app.ask_raw("make_hold_invoice", **hold(preimage))
    await app.outside.pay(made["invoice"])

    async def is_accepted() -> bool:
        found = await app.ask_raw("lookup_invoice", invoice=made["invoice"])
        return bool(found["state"] == "accepted")

    await until(is_accepted)
    return str(made["payment_hash"])
