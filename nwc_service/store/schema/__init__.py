"""Numbered migrations in plain SQL; each driver fills the type tokens.

Constraints here are the last wall: what the code decides by one conditional statement, CHECK
and UNIQUE refuse once more.
"""

from nwc_service.store.schema.addresses import ADDRESSES
from nwc_service.store.schema.backends import BACKENDS
from nwc_service.store.schema.first import FIRST
from nwc_service.store.schema.guards import GUARDS
from nwc_service.store.schema.house import HOUSE
from nwc_service.store.schema.lists import LISTS
from nwc_service.store.schema.methods import METHODS
from nwc_service.store.schema.tokens import TOKENS

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    FIRST,
    GUARDS,
    METHODS,
    BACKENDS,
    TOKENS,
    LISTS,
    HOUSE,
    ADDRESSES,
)
