"""Calls to CLN: what was surely not sent, what may have been, and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from backends._http import NoReply, NotReached, see_log
from backends.cln import rights
from backends.cln.options import Options
from backends.cln.transport import (
    METHOD_NOT_FOUND,
    Lost,
    RawReply,
    RestTransport,
    SocketTransport,
    Transport,
)
from backends.cln.wire import Problem, Wire
from nwc_service.backend import BadRequest

__all__ = ["ClnApi", "NoReply", "NotReached", "Reply"]

WireT = TypeVar("WireT", bound=Wire)

BAD_PARAMS = -32602
PLUGIN_TERMINATED, SHUTDOWN = -4, -5
RUNE_REFUSED = (1501, 1502, 1503)

SECRETS = ("preimage", "rune")  # parameters that no message may show
MAX_WORDS = 160
PROGRAM = "CLN"


@dataclass(frozen=True, slots=True)
class Reply:
    """A result, or why there is none."""

    raw: RawReply

    def read(self, model: type[WireT]) -> WireT | None:
        if self.raw.problem is not None:
            return None
        try:
            return model.model_validate(self.raw.result)
        except ValidationError:
            return None

    @property
    def problem(self) -> Problem | None:
        return self.raw.problem

    @property
    def code(self) -> int | None:
        return None if self.raw.problem is None else self.raw.problem.code

    @property
    def words(self) -> str:
        return "" if self.raw.problem is None else self.raw.problem.message[:MAX_WORDS]

    @property
    def is_unread(self) -> bool:
        return self.raw.is_unread


class ClnApi:
    """Every call may raise NotReached or NoReply."""

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._transport: Transport | None = None

    @property
    def has_rune(self) -> bool:
        return self._options.url is not None

    def open(self) -> None:
        """Raises NotReached."""
        if self._transport is not None:
            return
        if self._options.socket is not None:
            self._transport = SocketTransport(self._options.socket)
            return
        rune = self.rune()
        try:
            self._transport = RestTransport(
                self._options.url or "",
                rune=rune,
                tls_cert=self._options.tls_cert,
                timeout_s=self._options.timeout_s,
            )
        except Lost as wrong:
            raise NotReached(self._said("start", str(wrong)), remedy=wrong.remedy) from None

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    def rune(self) -> str:
        """Raises NotReached."""
        secret, path = self._options.rune, self._options.rune_path
        if path is None:
            return secret.get_secret_value() if secret else ""
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as wrong:
            what = f"rune_path cannot be read ({type(wrong).__name__})"
            raise NotReached(self._said("start", what), remedy=rights.CREATE) from None
        if not text or not text.isprintable() or " " in text:
            what = "rune_path holds no rune"
            raise NotReached(self._said("start", what), remedy=rights.CREATE)
        return text

    async def ask(
        self,
        model: type[WireT],
        method: str,
        *,
        operation: str,
        params: Mapping[str, object] | None = None,
    ) -> WireT:
        """What must be answered. Raises NoReply also for an error, or another shape."""
        reply = await self.call(method, params, operation=operation)
        found = reply.read(model)
        if found is None:
            raise self.unusable(reply, operation=operation)
        return found

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, *, operation: str
    ) -> Reply:
        return await self.long_call(
            method, params, operation=operation, timeout_s=self._options.timeout_s
        )

    async def long_call(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        operation: str,
        timeout_s: float | None,
    ) -> Reply:
        """Without a time, the caller watches it. Raises also BadRequest for a text that is
        not one."""
        if self._transport is None:
            what = "it is not started"
            raise NotReached(self._said(operation, what), remedy="start it first")
        try:
            raw = await self._transport.call(method, params or {}, timeout_s=timeout_s)
            return Reply(_without_secrets(raw, params or {}))
        except UnicodeEncodeError:
            raise BadRequest("a text has a character that cannot be written") from None
        except Lost as lost:
            kind = NoReply if lost.may_have_arrived else NotReached
            raise kind(self._said(operation, str(lost)), remedy=lost.remedy) from None

    def unusable(self, reply: Reply, *, operation: str) -> NoReply:
        """For an answer that is not the one hoped for."""
        what = "CLN's answer cannot be read"
        if reply.problem is not None:
            what = f"CLN answered {reply.code}: {reply.words}"
        return self.problem(operation, what, remedy=_remedy(reply))

    def problem(self, operation: str, what: str, *, remedy: str) -> NoReply:
        return NoReply(self._said(operation, what), remedy=remedy)

    def _said(self, operation: str, what: str) -> str:
        return f"backend {self._name!r} (cln), {operation}: {what}"


def _without_secrets(raw: RawReply, params: Mapping[str, object]) -> RawReply:
    """CLN repeats a parameter that it does not take."""
    if raw.problem is None:
        return raw
    message = raw.problem.message
    for name in SECRETS:
        if name in params:
            message = message.replace(str(params[name]), "***")
    return replace(raw, problem=Problem(code=raw.problem.code, message=message))


def _remedy(reply: Reply) -> str:
    if reply.code in RUNE_REFUSED:
        return rights.CREATE
    if reply.code == METHOD_NOT_FOUND:
        return "use Core Lightning 25.12 or newer, with its plugins"
    if reply.code in (PLUGIN_TERMINATED, SHUTDOWN):
        return "start lightningd or its plugin again"
    if reply.is_unread:
        return f"check url, and the rune: {rights.CREATE}"
    return see_log(PROGRAM)
