"""What must hold after every commit, asked of the database itself."""

import sqlite3

from nwc_service.store.audit import audit
from nwc_service.store.sqlite import read_batch

# Each notes what must never be done to a row; the check after the commit finds the note.
_WATCHES = """
CREATE TEMP TABLE broken (what TEXT NOT NULL);
CREATE TEMP TRIGGER final_payment_changed AFTER UPDATE ON payment
    WHEN OLD.state IN ('SETTLED', 'RELEASED') AND (NEW.state <> OLD.state
        OR NEW.fee_msat IS NOT OLD.fee_msat OR NEW.preimage IS NOT OLD.preimage
        OR NEW.amount_msat <> OLD.amount_msat OR NEW.backend IS NOT OLD.backend)
    BEGIN INSERT INTO broken VALUES ('I7: a final payment changed: ' || OLD.payment_id); END;
CREATE TEMP TRIGGER backend_changed AFTER UPDATE ON payment
    WHEN OLD.dispatched_at IS NOT NULL AND NEW.backend IS NOT OLD.backend
    BEGIN INSERT INTO broken VALUES ('I10: the backend changed: ' || OLD.payment_id); END;
CREATE TEMP TRIGGER dispatched_twice AFTER UPDATE ON payment
    WHEN OLD.state <> 'RESERVED' AND NEW.state IN ('RESERVED', 'DISPATCHED')
        AND NEW.state <> OLD.state
    BEGIN INSERT INTO broken VALUES ('I7: a payment went back: ' || OLD.payment_id); END;
CREATE TEMP TRIGGER dispatched_while_paused AFTER UPDATE ON payment
    WHEN OLD.state = 'RESERVED' AND NEW.state = 'DISPATCHED'
        AND EXISTS (SELECT 1 FROM pause WHERE backend = NEW.backend)
    BEGIN INSERT INTO broken VALUES ('I20: dispatched while paused: ' || OLD.payment_id); END;
CREATE TEMP TRIGGER released_while_distrusted AFTER UPDATE ON payment
    WHEN OLD.state <> 'RELEASED' AND NEW.proof_kind IN ('expiry', 'final_status')
        AND EXISTS (SELECT 1 FROM pause WHERE backend = NEW.backend AND stops = 'all')
    BEGIN INSERT INTO broken VALUES ('I9: a stopped node was believed: ' || OLD.payment_id);
    END;
CREATE TEMP TRIGGER revoked_paid AFTER INSERT ON payment
    WHEN EXISTS (SELECT 1 FROM connection WHERE connection_id = NEW.connection_id
        AND revoked_at IS NOT NULL)
    BEGIN INSERT INTO broken VALUES ('I14: revoked, and paid: ' || NEW.payment_id); END;
CREATE TEMP TRIGGER revoked_issued AFTER INSERT ON invoice
    WHEN NEW.offer_id IS NULL AND EXISTS (SELECT 1 FROM connection
        WHERE connection_id = NEW.connection_id AND revoked_at IS NOT NULL)
    BEGIN INSERT INTO broken VALUES ('I14: revoked, and issued: ' || NEW.invoice_id); END;
CREATE TEMP TRIGGER revoked_offered AFTER INSERT ON offer
    WHEN EXISTS (SELECT 1 FROM request JOIN connection USING (connection_id)
        WHERE request.request_id = NEW.request_id AND method = 'make_offer'
        AND revoked_at IS NOT NULL)
    BEGIN INSERT INTO broken VALUES ('I14: revoked, and offered: ' || NEW.offer_id); END;
CREATE TEMP TRIGGER final_offer_changed AFTER UPDATE ON offer
    WHEN OLD.state <> 'REQUESTED' AND (NEW.state <> OLD.state OR NEW.offer <> OLD.offer
        OR NEW.account_id <> OLD.account_id OR NEW.node_offer_id IS NOT OLD.node_offer_id)
    BEGIN INSERT INTO broken VALUES ('an offer changed: ' || OLD.offer_id); END;
CREATE TEMP TRIGGER offer_deleted AFTER DELETE ON offer
    BEGIN INSERT INTO broken VALUES ('an offer was deleted: ' || OLD.offer_id); END;
CREATE TEMP TRIGGER final_answer_changed AFTER UPDATE ON outbox
    WHEN OLD.published_at IS NOT NULL AND NEW.event <> OLD.event
    BEGIN INSERT INTO broken VALUES ('I12: a taken answer changed: ' || OLD.event_id); END;
CREATE TEMP TRIGGER payment_deleted AFTER DELETE ON payment
    BEGIN INSERT INTO broken VALUES ('a payment was deleted: ' || OLD.payment_id); END;
CREATE TEMP TRIGGER receipt_deleted AFTER DELETE ON receipt
    BEGIN INSERT INTO broken VALUES ('a receipt was deleted: ' || OLD.payment_hash); END;
CREATE TEMP TRIGGER request_deleted AFTER DELETE ON request
    BEGIN INSERT INTO broken VALUES ('a request was deleted: ' || OLD.request_id); END;
CREATE TEMP TRIGGER settled_invoice_changed AFTER UPDATE ON invoice
    WHEN OLD.state = 'SETTLED' AND NEW.state <> 'SETTLED'
    BEGIN INSERT INTO broken VALUES ('I17: a settled invoice changed: ' || OLD.invoice_id);
    END;
CREATE TEMP TRIGGER decided_again AFTER UPDATE ON invoice
    WHEN OLD.resolution IS NOT NULL AND NEW.resolution IS NOT OLD.resolution
    BEGIN INSERT INTO broken VALUES ('a hold was decided again: ' || OLD.invoice_id); END;
CREATE TEMP TRIGGER held_twice AFTER UPDATE ON invoice
    WHEN OLD.state = 'ACCEPTED'
        AND NEW.payer_payment_id IS NOT OLD.payer_payment_id
    BEGIN INSERT INTO broken VALUES ('a hold has another payer: ' || OLD.invoice_id); END;
"""

_CHECK = """
SELECT 'I1: all balances together are not 0' AS what WHERE
    (SELECT coalesce(sum(available_msat + held_msat), 0) FROM account)
    + (SELECT coalesce(sum(balance_msat), 0) FROM book) <> 0
UNION ALL SELECT 'I3: an account is negative' FROM account
    WHERE available_msat < 0 OR held_msat < 0
UNION ALL SELECT 'I4: held money and open payments differ' WHERE
    (SELECT coalesce(sum(held_msat), 0) FROM account) <>
    (SELECT coalesce(sum(amount_msat + fee_reserve_msat), 0) FROM payment
        WHERE state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN'))
UNION ALL SELECT 'I5: two payments of one hash' FROM payment WHERE state <> 'RELEASED'
    GROUP BY payment_hash HAVING count(*) > 1
UNION ALL SELECT 'I15: more was spent than the budget' FROM budget_period
    JOIN connection USING (connection_id) WHERE used_msat > budget_msat
UNION ALL SELECT what FROM broken
"""


def watch(connection: sqlite3.Connection) -> None:
    connection.executescript(_WATCHES)


def problems(connection: sqlite3.Connection) -> list[str]:
    """Cheap: after every commit."""
    return [row["what"] for row in connection.execute(_CHECK)]


def audited(connection: sqlite3.Connection) -> list[str]:
    """The service's own audit of the whole database."""
    [result] = read_batch(connection, [audit])
    if isinstance(result, Exception):
        raise result
    return list(result.problems)
