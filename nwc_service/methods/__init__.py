"""The table of methods: one file and one line each.

Dispatch, scope checks, the info event, get_info and the command line's choices derive from it.
"""

from collections.abc import Iterable
from importlib import import_module

from nwc_service.backend import Cap
from nwc_service.methods import get_info
from nwc_service.methods.method import Method, Preset
from nwc_service.metrics.meters import know_methods


def _method(name: str) -> Method:
    """The METHOD of the file of this name, which is the method's own name."""
    method: Method = import_module(f"{__name__}.{name}").METHOD
    return method


METHODS: dict[str, Method] = {
    name: _method(name)
    for name in (
        "pay_invoice",
        "pay",
        "pay_keysend",
        "multi_pay_invoice",
        "multi_pay_keysend",
        "make_invoice",
        "make_hold_invoice",
        "settle_hold_invoice",
        "cancel_hold_invoice",
        "receive",
        "make_offer",
        "lookup_invoice",
        "lookup_payment",
        "list_transactions",
        "get_balance",
        "get_info",
        "get_budget",
        "sign_message",
        "create_connection",
    )
}
know_methods(METHODS)


def announced(scopes: Iterable[str], caps: Cap) -> list[str]:
    """The methods that a connection may call and the backend can do, in the table's order."""
    granted = {*scopes, get_info.NAME}  # get_info is always answered
    return [
        method.name
        for method in METHODS.values()
        if method.name in granted and method.needs in caps
    ]


def resolve_scopes(text: str) -> frozenset[str]:
    """A preset, or method names separated by commas. Raises ValueError listing the choices."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    scopes: set[str] = set()
    for word in words:
        # `receive` is a preset and a method: the word grants both.
        if word in METHODS:
            scopes.add(word)
        if word.upper() in Preset.__members__:
            scopes |= _preset(Preset[word.upper()])
        elif word not in METHODS:
            presets = [preset.name.lower() for preset in Preset]
            raise ValueError(f"scope {word!r} is none of {', '.join([*presets, *METHODS])}")
    if not scopes:
        raise ValueError("at least one scope is required")
    return frozenset(scopes)


def _preset(preset: Preset) -> set[str]:
    return {
        method.name
        for method in METHODS.values()
        if method.preset is not None and method.preset <= preset
    }
