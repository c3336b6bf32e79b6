"""Every metric of the service, named in one place; docs/monitoring.md lists them.

Names never change, units are in them (seconds, msat, bytes), and labels come from what is known
beforehand: methods, error codes, backends and relays that the operator has configured. Nothing
that a client, a payer or a relay sends ever becomes a label, and no account, connection or key.
"""

from nwc_service.metrics.instruments import counters, gauges, histograms

FROM_1_MS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FROM_100_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
FROM_100_US = (0.0001, 0.00025, 0.0005, *FROM_1_MS)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

# --- requests

REQUESTS = counters(
    "nwc_requests_total",
    "Answers to requests: sealed, or stored for good. `ok` or the error's code.",
    "method",
    "outcome",
)
REQUEST_SECONDS = histograms(
    "nwc_request_seconds",
    "From taking a request until it is answered, or its payment is on its way.",
    "method",
    bounds=FROM_1_MS,
)
DROPPED = counters(
    "nwc_events_dropped_total",
    "Events that nobody was told anything about, by reason.",
    "reason",
)

# --- money

PAYMENTS = counters(
    "nwc_payments_total",
    "Outgoing payments that became final: `settled` or `released`.",
    "backend",
    "kind",
    "outcome",
)
PAYMENT_MSAT = counters(
    "nwc_payments_settled_msat_total",
    "What payees got, without fees.",
    "backend",
    "kind",
)
FEES_MSAT = counters(
    "nwc_payment_fees_msat_total", "Fees charged to accounts for payments.", "backend"
)
LOSSES_MSAT = counters(
    "nwc_losses_msat_total", "Charged to the operator: late successes, fees above the cap."
)
PAYMENT_SECONDS = histograms(
    "nwc_payment_seconds",
    "From the one send until the backend's answer, by what that was.",
    "backend",
    "kind",
    "outcome",
    bounds=FROM_100_MS,
)
RECEIPTS = counters(
    "nwc_receipts_total",
    "Payments that came in: credited to an `account`, or waiting in `suspense`.",
    "backend",
    "to",
)
RECEIPTS_MSAT = counters("nwc_receipts_msat_total", "What came in with them.", "backend", "to")
OPEN_PAYMENTS = gauges(
    "nwc_open_payments", "Outgoing payments that are not final, by state.", "state"
)
OLDEST_UNKNOWN = gauges(
    "nwc_oldest_unknown_payment_seconds",
    "Since the oldest payment was sent that its backend says nothing final of; 0: none is.",
)
BACKEND_UP = gauges("nwc_backend_up", "Whether the node answered last time.", "backend")
BACKEND_SYNCED = gauges(
    "nwc_backend_synced", "Whether it said that it is in sync with its chain.", "backend"
)
BACKEND_PAUSED = gauges(
    "nwc_backend_paused", "1 while it waits for `nwc-service backend resume`.", "backend"
)
SPENDABLE_MSAT = gauges(
    "nwc_backend_spendable_msat", "What the node said last that it can spend.", "backend"
)
RECEIVABLE_MSAT = gauges(
    "nwc_backend_receivable_msat",
    "What it said last that it can receive, if it says so.",
    "backend",
)
OWED_MSAT = gauges(
    "nwc_owed_msat", "What is owed to users, without payments that may have left."
)
BACKED_MSAT = gauges("nwc_backed_msat", "What all backends together can spend for that.")
COVER_RATIO = gauges("nwc_cover_ratio", "The one by the other; +Inf where nothing is owed.")
GATE_OPEN = gauges(
    "nwc_solvency_gate_open", "Whether payments may leave; 0: not known to be covered."
)
ALARMS = gauges("nwc_alarms", "Alarms that stand, by kind: `nwc-service alarm list`.", "kind")
ACCOUNTS = gauges("nwc_accounts", "Accounts.")
CONNECTIONS = gauges("nwc_connections", "Connections, with those that have ended.")

# --- the way out

OUTBOX_WAITING = gauges(
    "nwc_outbox_waiting",
    "Stored events that no relay has taken yet; 10000 stands for more.",
)
OUTBOX_OLDEST = gauges(
    "nwc_outbox_oldest_seconds", "Since the oldest of those under way was stored; 0: none is."
)
OUTBOX_PUBLISHED = counters("nwc_outbox_published_total", "Stored events that a relay took.")
OUTBOX_ABANDONED = counters(
    "nwc_outbox_abandoned_total", "Stored events that none took within a day."
)

# --- relays

RELAYS = gauges(
    "nwc_relays", "Relays in use: the operator's by URL, those of users as `other`.", "relay"
)
RELAYS_CONNECTED = gauges("nwc_relays_connected", "Those that are connected.", "relay")
RELAYS_SUBSCRIBED = gauges(
    "nwc_relays_subscribed", "Those that pass requests on, all stored ones read.", "relay"
)
RELAY_CONNECTS = counters("nwc_relay_connects_total", "Sockets that were opened.", "relay")
RELAY_EVENTS = counters("nwc_relay_events_total", "Events that a relay sent.", "relay")
RELAY_PUBLISHES = counters(
    "nwc_relay_publishes_total",
    "Events sent to a relay: `accepted`, `refused` (an OK false), or `unanswered`.",
    "relay",
    "outcome",
)
EMBEDDED_SOCKETS = gauges("nwc_embedded_relay_sockets", "Clients of the embedded relay.")
EMBEDDED_REFUSALS = counters(
    "nwc_embedded_relay_refusals_total",
    "What the embedded relay refused, by the prefix of its answer.",
    "reason",
)

# --- the database and the process

COMMITS = counters("nwc_database_commits_total", "Commits.")
BATCH_SIZE = histograms(
    "nwc_database_batch_size", "Units of work in one hop to a lane.", "lane", bounds=COUNTS
)
BATCH_SECONDS = histograms(
    "nwc_database_batch_seconds",
    "One hop to a lane; with `write` the statements of all, and their commit.",
    "lane",
    bounds=FROM_100_US,
)
QUEUE_SECONDS = histograms(
    "nwc_database_queue_seconds",
    "How long the first of each batch had waited for its lane.",
    "lane",
    bounds=FROM_100_US,
)
DATABASE_FAILURES = counters(
    "nwc_database_failures_total", "Batches that failed as a whole.", "lane"
)
DATABASE_BYTES = gauges(
    "nwc_database_bytes", "Of the database's `main` file and its `wal`.", "file"
)
LOOP_LAG = histograms(
    "nwc_event_loop_lag_seconds",
    "How much later than asked for the event loop woke a task, once a second.",
    bounds=FROM_1_MS,
)
BUILD_INFO = gauges("nwc_build_info", "Always 1.", "version", "python", "sqlite")
