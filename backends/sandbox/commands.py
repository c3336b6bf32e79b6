"""The operator's commands: what the outside node does, and how the service's node behaves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backends.sandbox.books import Books, Mode
from backends.sandbox.holds import up_to_date
from backends.sandbox.offers import Offers
from backends.sandbox.outside_node import OutsideNode, read_statement
from backends.sandbox.refusals import records_problem
from backends.sandbox.sends import Answer
from backends.sandbox.service_node import INVOICE_UPDATED
from nwc_service.backend import BadRequest, Unsupported
from nwc_service.wallet.bolt11 import DEFAULT_EXPIRY_S, MAX_EXPIRY_S
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

Arguments = Mapping[str, object]
AmountMsat = Annotated[int, Field(ge=1, le=MAX_MSAT)]
MAX_BLOCKS = 1_000_000
HashText = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Checked(BaseModel):
    """Arguments of the types that are written here, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


ExpiryS = Annotated[int, Field(ge=0, le=MAX_EXPIRY_S)]


class Wanted(Checked):
    """What the outside node asks for, and what it then does with the payment."""

    amount_msat: AmountMsat | None = None
    hold: bool = False
    fail: bool = False


class InvoiceArguments(Wanted):
    expiry_s: ExpiryS = DEFAULT_EXPIRY_S


class HashArguments(Checked):
    payment_hash: HashText


class PayArguments(Checked):
    invoice: str
    amount_msat: AmountMsat | None = None


class OfferArguments(Wanted):
    description: str = "sandbox"
    expiry_s: ExpiryS | None = None


class PayOfferArguments(Checked):
    offer: str
    amount_msat: AmountMsat | None = None
    payer_note: str | None = None


class TlvRecord(Checked):
    """As NWC-04 writes it."""

    type: Annotated[int, Field(ge=0, lt=2**64)]
    value: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$")]


class KeysendArguments(Checked):
    amount_msat: AmountMsat
    tlv_records: list[TlvRecord] = []


class KeysendsArguments(Checked):
    answer: Annotated[Answer, Field(strict=False)]


class MineArguments(Checked):
    blocks: Annotated[int, Field(ge=1, le=MAX_BLOCKS)] = 1


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
        self._offers = Offers(books)
        self._by_name: Mapping[str, Callable[[Arguments], Awaitable[Arguments]]] = {
            "invoice": self._invoice,
            "settle": self._settle,
            "cancel": self._cancel,
            "pay": self._pay,
            "offer": self._offer,
            "pay-offer": self._pay_offer,
            "keysend": self._keysend,
            "keysends": self._keysends,
            "mine": self._mine,
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
        invoice, payment_hash = await self._outside.create_invoice(
            _msat(given.amount_msat), answer=_answer(given), expiry_s=given.expiry_s
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
        paid = await self._outside.pay(given.invoice, _msat(given.amount_msat))
        if paid.settle_deadline is None:
            return {"preimage": paid.preimage}
        return {"payment_hash": paid.payment_hash, "settle_deadline": paid.settle_deadline}

    async def _offer(self, arguments: Arguments) -> Arguments:
        given = checked(OfferArguments, arguments)
        offer = await self._offers.create_outside(
            _msat(given.amount_msat),
            description=given.description,
            answer=_answer(given),
            expiry_s=given.expiry_s,
        )
        return {"offer": offer}

    async def _pay_offer(self, arguments: Arguments) -> Arguments:
        given = checked(PayOfferArguments, arguments)
        payment_hash = await self._outside.pay_offer(
            given.offer, _msat(given.amount_msat), payer_note=given.payer_note
        )
        return {"payment_hash": payment_hash}

    async def _keysend(self, arguments: Arguments) -> Arguments:
        given = checked(KeysendArguments, arguments)
        tlvs = {each.type: bytes.fromhex(each.value) for each in given.tlv_records}
        if len(tlvs) < len(given.tlv_records):
            raise BadRequest("tlv_records: one type comes twice")
        if problem := records_problem(tlvs):
            raise BadRequest(f"tlv_records: {problem}")
        payment_hash = await self._outside.keysend(Msat(given.amount_msat), tlvs)
        return {"payment_hash": payment_hash}

    async def _keysends(self, arguments: Arguments) -> Arguments:
        answer = checked(KeysendsArguments, arguments).answer
        await self._outside.answer_keysends(answer)
        return {"answer": answer.value}

    async def _mine(self, arguments: Arguments) -> Arguments:
        await self._books.mine(checked(MineArguments, arguments).blocks)
        async with up_to_date(self._books):  # what is due now goes back now
            self._books.announce(INVOICE_UPDATED)
        return {"block_height": self._books.block_height}

    async def _mode(self, arguments: Arguments) -> Arguments:
        mode = checked(ModeArguments, arguments).mode
        await self._books.set_mode(mode)
        # Whoever follows the invoices learns here that the node went away.
        self._books.announce(INVOICE_UPDATED)
        return {"mode": mode.value}

    async def _show(self, arguments: Arguments) -> Arguments:
        checked(NoArguments, arguments)
        return asdict(await read_statement(self._books))


def _answer(given: Wanted) -> Answer:
    if given.hold and given.fail:
        raise BadRequest("fail: not together with hold")
    return Answer.HOLD if given.hold else Answer.FAIL if given.fail else Answer.SETTLE


def _msat(amount_msat: int | None) -> Msat | None:
    return None if amount_msat is None else Msat(amount_msat)
