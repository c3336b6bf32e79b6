"""Whether the service runs and answers, or could listen where it is to."""

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx

from nwc_service import datadir
from nwc_service.backend import Finding
from nwc_service.config import Settings

SUBJECT = "service"
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    is_up: bool
    findings: Sequence[Finding]


async def look(chosen: Settings, *, known: Mapping[str, int]) -> Running:
    try:
        url = (chosen.data_dir / datadir.ADMIN_URL).read_text().strip()
        ready = await _ready(url)
    except (OSError, httpx.HTTPError, httpx.InvalidURL):
        ready = None
    if ready is not None:
        return Running(True, _of_ready(ready, url=url))
    stopped = Finding(SUBJECT, "it does not run")
    return Running(False, [stopped, *_free(chosen, known)])


async def _ready(url: str) -> Mapping[str, object] | None:
    """What /readyz says; None where something else answers."""
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
        response = await client.get(f"{url}/readyz")
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "ready" in answer else None


def _of_ready(answer: Mapping[str, object], *, url: str) -> Sequence[Finding]:
    if answer["ready"] is True:
        return [Finding(SUBJECT, f"it runs at {url} and is ready")]
    backends = answer.get("backends")
    silent = (
        [name for name, up in backends.items() if not up] if isinstance(backends, dict) else []
    )
    wrong = [f"backend {name}" for name in silent]
    wrong += [name for name in ("database", "relays") if answer.get(name) is not True]
    says = f"it runs at {url} and is not ready: {', '.join(wrong) or 'it does not say why'}"
    return [Finding(SUBJECT, says, "see the findings on these, and its log")]


def _free(chosen: Settings, known: Mapping[str, int]) -> Iterator[Finding]:
    listeners = {"admin": chosen.admin.listen}
    if not chosen.relay.urls:
        listeners["embedded_relay"] = chosen.embedded_relay.listen
    if chosen.public.domain is not None:
        listeners["public"] = chosen.public.listen
    for name, listen in listeners.items():
        host, _, text = listen.rpartition(":")
        port = int(text) or known.get(name, 0)
        problem = _problem(host.strip("[]"), port)
        if problem is not None:
            remedy = f"end what listens there, or set [{name}] listen to another port"
            if name == "embedded_relay":
                remedy += "; connection URIs that were given out name this one"
            yield Finding(f"{name}.listen", f"{host}:{port}: {problem}", remedy)


def _problem(host: str, port: int) -> str | None:
    """Why nothing can listen there now."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there"
        return error.strerror or str(error)
    return None
