"""The operator's commands: what the outside node does, and how the service's node behaves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backends.sandbox.books import Books, Mode
from backends.sandbox.outside_node import OutsideNode, read_statement
from backends.sandbox.service_node import INVOICE_SETTLED, Answer
from nwc_service.backend import BadRequest, Unsupported
from nwc_service.wallet.bolt11 import DEFAULT_EXPIRY_S, MAX_EXPIRY_S
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

Arguments = Mapping[str, object]
AmountMsat = Annotated[int, Field(ge=1, le=MAX_MSAT)]
HashText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Checked(BaseModel):
    """Arguments of the types that are written here, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class InvoiceArguments(Checked):
    amount_msat: AmountMsat | None = None
    hold: bool = False
    fail: bool = False
    expiry_s: Annotated[int, Field(ge=0, le=MAX_EXPIRY_S)] = DEFAULT_EXPIRY_S


class HashArguments(Checked):
    payment_hash: HashText


class PayArguments(Checked):
    invoice: str
    amount_msat: AmountMsat | None = None


class ModeArguments(Checked):
    mode: Annotated[Mode, Field(strict=False)]


class NoArguments(Checked):
    pass


ModelT = TypeVar("ModelT", bound=BaseModel)


def checked(model: type[ModelT], values: Mapping[str, object]) -> ModelT:
    """Raises BadRequest that names what is wrong, and never repeats its value."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise BadRequest(f"{name}: {first['msg']}") from None


class Commands:
    def __init__(self, books: Books) -> None:
        self._books = books
        self._outside = OutsideNode(books)
        self._by_name: Mapping[str, Callable[[Arguments], Awaitable[Arguments]]] = {
            "invoice": self._invoice,
            "settle": self._settle,
            "cancel": self._cancel,
            "pay": self._pay,
            "mode": self._mode,
            "show": self._show,
        }

    async def run(self, name: str, arguments: Arguments) -> Arguments:
        command = self._by_name.get(name)
        if command is None:
            raise Unsupported(f"the sandbox has no command {name!r}")
        return await command(arguments)

    async def _invoice(self, arguments: Arguments) -> Arguments:
        given = checked(InvoiceArguments, arguments)
        if given.hold and given.fail:
            raise BadRequest("fail: not together with hold")
        answer = Answer.HOLD if given.hold else Answer.FAIL if given.fail else Answer.SETTLE
        invoice, payment_hash = await self._outside.create_invoice(
            None if given.amount_msat is None else Msat(given.amount_msat),
            answer=answer,
            expiry_s=given.expiry_s,
        )
        return {"invoice": invoice, "payment_hash": payment_hash}

    async def _settle(self, arguments: Arguments) -> Arguments:
        payment_hash = PaymentHash(checked(HashArguments, arguments).payment_hash)
        state = await self._outside.settle(payment_hash)
        return {"payment_hash": payment_hash, "state": state.value}

    async def _cancel(self, arguments: Arguments) -> Arguments:
        payment_hash = PaymentHash(checked(HashArguments, arguments).payment_hash)
        state = await self._outside.cancel(payment_hash)
        return {"payment_hash": payment_hash, "state": state.value}

    async def _pay(self, arguments: Arguments) -> Arguments:
        given = checked(PayArguments, arguments)
        amount_msat = None if given.amount_msat is None else Msat(given.amount_msat)
        return {"preimage": await self._outside.pay(given.invoice, amount_msat)}

    async def _mode(self, arguments: Arguments) -> Arguments:
        mode = checked(ModeArguments, arguments).mode
        await self._books.set_mode(mode)
        # Whoever follows the invoices learns here that the node went away.
        self._books.announce(INVOICE_SETTLED)
        return {"mode": mode.value}

    async def _show(self, arguments: Arguments) -> Arguments:
        checked(NoArguments, arguments)
        return asdict(await read_statement(self._books))
