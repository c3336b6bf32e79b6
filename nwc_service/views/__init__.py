"""What the operator sees: the JSON objects of the command line and the admin API.

They read one database transaction and write nothing, so they work with the service down too.
The audit reads many short ones.
"""

from nwc_service.views.accounts import account, account_page, account_view
from nwc_service.views.addresses import address_page, address_view
from nwc_service.views.backends import BackendTypes, backend, backend_list
from nwc_service.views.books import (
    alarm_list,
    audit,
    audit_stopped,
    decision_page,
    suspense_list,
    token_list,
    token_view,
)
from nwc_service.views.connections import RelaysOf, connection, connection_page
from nwc_service.views.me import me
from nwc_service.views.overview import overview, time_series
from nwc_service.views.payments import (
    PaymentFilter,
    outgoing,
    payment,
    payment_page,
    users_page,
    users_payment,
)
from nwc_service.views.view import MAX_PAGE, View

__all__ = [
    "MAX_PAGE",
    "BackendTypes",
    "PaymentFilter",
    "RelaysOf",
    "View",
    "account",
    "account_page",
    "account_view",
    "address_page",
    "address_view",
    "alarm_list",
    "audit",
    "audit_stopped",
    "backend",
    "backend_list",
    "connection",
    "connection_page",
    "decision_page",
    "me",
    "outgoing",
    "overview",
    "payment",
    "payment_page",
    "suspense_list",
    "time_series",
    "token_list",
    "token_view",
    "users_page",
    "users_payment",
]
