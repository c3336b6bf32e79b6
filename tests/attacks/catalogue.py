"""Every known attack on a custodial wallet, and the defence of this one with its place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    defence: str


ATTACKS = {
    "A1": Attack(
        "Many withdrawals at once",
        "one conditional statement decides, with the payment's row: `store/ledger.py: post`,"
        " `store/connections.py: use_budget`",
    ),
    "A2": Attack(
        "A foreign invoice with the hash of ours",
        "internal only by the exact string, at the stored amount: `store/invoices.py:"
        " by_string`, `wallet/payment.py: settle_internally`",
    ),
    "A3": Attack(
        "Fees that the user does not pay",
        "the figure that is reserved is the cap that is passed; what is above it is the"
        " operator's and pauses the backend: `wallet/payment.py: FeePolicy`, `record.py`",
    ),
    "A4": Attack(
        "Given back, and then paid after all",
        "sent once ever; only a final status, rule H or the operator gives back:"
        " `wallet/payment.py: apply_outcome`, `reconciler.py`",
    ),
    "A5": Attack(
        "Two parsers read one invoice differently",
        "one strict decoder, and the node must agree: `wallet/bolt11.py`, `backends/lnbits/`",
    ),
    "A6": Attack(
        "Hostile amounts",
        "exact integers in bounds, checked at the edge and by STRICT tables:"
        " `methods/method.py`, `nip47/envelope.py`, `store/schema/`",
    ),
    "A7": Attack(
        "Held payments as a lock",
        "nobody waits for them; open payments are capped: `spend.py: _check_open_payments`",
    ),
    "A8": Attack(
        "Hold invoices that never end",
        "given back before a deadline of blocks and of time, no money before SETTLED, capped,"
        " and only for their own account: `holds.py`, `wallet/hold.py`, `credit.py`",
    ),
    "A9": Attack(
        "Paying oneself, in circles",
        "an internal payment is one entry in one transaction and starts nothing:"
        " `inside.py: _pay_invoice`",
    ),
    "A10": Attack(
        "Expired invoices paid late",
        "the node decides; inside, the ledger checks the expiry: `credit.py`,"
        " `wallet/payment.py: settle_internally`",
    ),
    "A11": Attack(
        "Paid inside, open at the node",
        "a queued cancellation; what comes all the same is a second receipt:"
        " `inside.py: _pay_invoice`, `credit.py`",
    ),
    "A12": Attack(
        "One invoice, two accounts",
        "a live or settled hash is unique in the whole ledger: `store/payments.py: insert`",
    ),
    "A13": Attack(
        "Keysend outside the limits",
        "there is no such method; every method that pays goes through `spend.py: spend`",
    ),
    "A14": Attack(
        "LNURL and addresses that lead inside",
        "only an invoice is paid, and nothing that a client writes is ever fetched; the"
        " relays that a zap names are public ones: `methods/pay_invoice.py`, `outbound.py`,"
        " `zaps.py`",
    ),
    "A15": Attack(
        "A settlement credited twice",
        "a unique receipt per backend, hash and HTLC set, in the credit's transaction:"
        " `store/invoices.py: insert_receipt`",
    ),
    "A16": Attack(
        "A settlement missed",
        "every open invoice is looked up, at the start and in turn: `reconciler.py`",
    ),
    "A17": Attack(
        "Poison in the credit path",
        "what cannot be told or stored is dropped, the money is booked: `credit.py`",
    ),
    "A18": Attack(
        "More or less than was asked",
        "what arrived is what is credited: `credit.py: _received_msat`",
    ),
    "A19": Attack(
        "A preimage shown early",
        "only of what is settled, and only if it hashes right: `nip47/transaction.py`,"
        " `wallet/receipt.py`",
    ),
    "A20": Attack(
        "One tenant taken for another",
        "the account comes from the connection's key and is in every WHERE: `dispatcher.py`,"
        " `store/`",
    ),
    "A21": Attack(
        "A node or a database from a backup",
        "counters, identity and a canary; a mark beside the books: `guard.py`, `restore.py`",
    ),
    "A22": Attack(
        "Forged news of a payment",
        "nobody can push; a hint only makes us ask the node: `reconciler.py`,"
        " `backends/lnbits/`, `admin/api.py`",
    ),
    "A23": Attack(
        "Credentials that can do too much",
        "the key that spends is used to pay and for nothing else: `backends/lnbits/`",
    ),
    "A24": Attack(
        "Cancelled and collected tasks",
        "owned tasks, and no release where an exception is caught: `edges.py`, `spend.py`",
    ),
    "A25": Attack(
        "Lost commits",
        "WAL with synchronous=FULL; what did not commit is not sent: `store/sqlite.py`",
    ),
    "A26": Attack(
        "Replayed requests",
        "an event id is claimed once for ever, with its effects; a short age window:"
        " `store/requests.py`, `dispatcher.py`",
    ),
    "A27": Attack(
        "A relay that withholds or equivocates",
        "signed once and published until taken; the connection's schemes are ours to say:"
        " `outbox.py`, `dispatcher.py`",
    ),
    "A28": Attack(
        "Floods",
        "cheap checks first, nothing remembered before a signature holds, bounded rates;"
        " payers of addresses have bounds of their own: `relay/pool.py`, `embedded/`,"
        " `payers.py`",
    ),
    "A29": Attack(
        "Who pays when",
        "a service key per connection; the own relay shows events to their parties:"
        " `keyring.py`, `embedded/`",
    ),
    "A30": Attack(
        "NIP-04 without a MAC",
        "the signature is verified before anything is decrypted; one error; it can be off:"
        " `relay/pool.py`, `nostr/nip04.py`",
    ),
    "A31": Attack(
        "Leaked keys",
        "shown once, kept nowhere, redacted in every log line: `keyring.py`, `log.py`",
    ),
    "A32": Attack(
        "What one tenant learns of another",
        "uniform words for what is not one's own: `spend.py: HASH_IN_USE`, `store/history.py`",
    ),
    "A33": Attack(
        "Script in a memo",
        "there is no page: JSON for programs, and text without control characters for the"
        " terminal: `admin/api.py`, `cli/common.py`",
    ),
    "A34": Attack(
        "The operator's door",
        "loopback, a random bearer token for every path, a reason for every movement:"
        " `admin/api.py`, `datadir.py`",
    ),
    "A35": Attack(
        "The supply chain",
        "hash-locked requirements and a decoder of our own: `requirements/`,"
        " `wallet/bolt11.py`",
    ),
}
