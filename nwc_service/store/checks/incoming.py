"""Invoices, receipts, and what waits in suspense."""

from nwc_service.store.checks.check import STANDING, Check

RECEIPTS = (
    Check(
        "I6: invoice {invoice_id} was credited {credited_msat} msat from {node},"
        " for receipts of {receipts_msat}",
        "SELECT invoice_id, node, sum(credited_msat) AS credited_msat,"
        " sum(receipts_msat) AS receipts_msat FROM ("
        " SELECT coalesce(invoice_id, 'of nobody') AS invoice_id, 'node:' || backend AS node,"
        " 0 AS credited_msat, amount_msat AS receipts_msat FROM receipt"
        " UNION ALL SELECT coalesce(invoice_id, 'of nobody'), source, amount_msat, 0"
        " FROM entry WHERE kind = 'receive') AS both_sides"
        " GROUP BY invoice_id, node HAVING sum(credited_msat) <> sum(receipts_msat)",
    ),
    Check(
        "I6: entry {entry_id} credits {destination} for invoice {invoice_id}",
        "SELECT entry_id, destination, coalesce(entry.invoice_id, 'of nobody') AS invoice_id"
        " FROM entry LEFT JOIN invoice ON invoice.invoice_id = entry.invoice_id"
        " WHERE kind = 'receive' AND destination <> 'suspense'"
        " AND NOT coalesce(destination = 'available:' || account_id, FALSE)",
    ),
    Check(
        "I6: the receipt of {payment_hash} names invoice {invoice_id} of {backend}, which is"
        " another",
        "SELECT receipt.payment_hash, receipt.invoice_id, receipt.backend FROM receipt"
        " LEFT JOIN invoice ON invoice.invoice_id = receipt.invoice_id"
        " WHERE receipt.invoice_id IS NOT NULL"
        " AND NOT coalesce(invoice.payment_hash = receipt.payment_hash"
        " AND invoice.backend = receipt.backend, FALSE)",
    ),
    Check(
        "I6: invoice {invoice_id} is settled, and nobody was credited",
        "SELECT invoice_id FROM invoice WHERE state = 'SETTLED' AND NOT EXISTS ("
        " SELECT 1 FROM receipt WHERE receipt.backend = invoice.backend"
        " AND receipt.payment_hash = invoice.payment_hash)"
        " AND NOT EXISTS (SELECT 1 FROM payment"
        " WHERE payment.kind IN ('internal', 'internal_hold')"
        " AND payment.payment_hash = invoice.payment_hash AND payment.state = 'SETTLED'"
        f" AND {STANDING})",
    ),
    Check(
        "I6: invoice {invoice_id} was credited, and is {state}",
        "SELECT DISTINCT invoice.invoice_id, state FROM receipt JOIN invoice"
        " ON invoice.invoice_id = receipt.invoice_id WHERE state <> 'SETTLED'",
    ),
    # By the second as well: two assignments are not taken for one of both amounts.
    Check(
        "I6: of invoice {invoice_id} {assigned_msat} msat were assigned at {assigned_at},"
        " and {moved_msat} moved from {source} to {destination}",
        "SELECT invoice_id, source, destination, assigned_at,"
        " sum(assigned_msat) AS assigned_msat, sum(moved_msat) AS moved_msat FROM ("
        " SELECT coalesce(invoice_id, 'of nobody') AS invoice_id, 'suspense' AS source,"
        " assigned_to AS destination, assigned_at, amount_msat AS assigned_msat,"
        " 0 AS moved_msat FROM receipt WHERE assigned_to IS NOT NULL"
        " UNION ALL SELECT coalesce(invoice_id, 'of nobody'), source, destination,"
        " created_at, 0, amount_msat FROM entry WHERE kind = 'assign') AS both_sides"
        " GROUP BY invoice_id, source, destination, assigned_at"
        " HAVING sum(assigned_msat) <> sum(moved_msat)",
    ),
    Check(
        "I6: of invoice {invoice_id} {assigned_msat} msat were assigned, {waited_msat} waited",
        "SELECT invoice_id, sum(assigned_msat) AS assigned_msat,"
        " sum(waited_msat) AS waited_msat FROM (SELECT invoice_id,"
        " amount_msat AS assigned_msat, 0 AS waited_msat FROM receipt"
        " WHERE invoice_id IS NOT NULL AND assigned_to IS NOT NULL"
        " UNION ALL SELECT invoice_id, 0, amount_msat FROM entry"
        " WHERE invoice_id IS NOT NULL AND kind = 'receive' AND destination = 'suspense'"
        ") AS both_sides GROUP BY invoice_id HAVING sum(assigned_msat) > sum(waited_msat)",
    ),
    Check(
        "I6: entry {entry_id}, of kind {kind}, moves money from {source} to {destination}",
        "SELECT entry_id, kind, source, destination FROM entry"
        " WHERE (destination = 'suspense' AND kind <> 'receive')"
        " OR (source = 'suspense' AND kind <> 'assign') OR (kind = 'assign'"
        " AND destination <> 'equity' AND destination NOT LIKE 'available:%')",
    ),
    Check(
        "I23: the cursor of {backend} moved with {payment_hash}, of which there is no receipt",
        "SELECT backend, payment_hash FROM stream WHERE payment_hash IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.backend = stream.backend"
        " AND receipt.payment_hash = stream.payment_hash)",
    ),
)
