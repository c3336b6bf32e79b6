"""How what LND lost itself is told from what was lost here."""

from tests.regtest.truth import Row, undone

SETTLED, REFUSED, PAID = "ab" * 32, "cd" * 32, "ef" * 32
LOG = (
    "[ERR] HSWC: ChannelLink(7:0): unable to decode onion hop iterator for htlc(id=185,"
    " hash={}): InvalidOnionVersion\n"
)


def invoice(payment_hash: str, state: str = "SETTLED") -> Row:
    return {"hash": payment_hash, "state": state}


def payment(payment_hash: str, status: str) -> Row:
    return {"payment_hash": payment_hash, "status": status}


def test_only_what_lnd_says_that_it_refused_and_the_payer_has_back_was_lost_by_lnd() -> None:
    invoices = [invoice(SETTLED), invoice(REFUSED), invoice(PAID)]
    sent = [payment(SETTLED, "FAILED"), payment(REFUSED, "FAILED"), payment(PAID, "SUCCEEDED")]
    log = LOG.format(REFUSED) + LOG.format(PAID)

    assert undone(invoices, sent=sent, log=log) == [invoice(REFUSED)]


def test_what_lnd_never_called_settled_was_not_lost() -> None:
    sent = [payment(REFUSED, "FAILED")]

    assert undone([invoice(REFUSED, "OPEN")], sent=sent, log=LOG.format(REFUSED)) == []
