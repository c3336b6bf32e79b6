"""Composition root: settings in, a running service out; stopped in reverse order."""

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from nwc_service import datadir
from nwc_service.accounts import Accounts
from nwc_service.addresses import Addresses, lud16_reader
from nwc_service.admin.server import open_admin
from nwc_service.admin.state import State
from nwc_service.announcer import Announcer
from nwc_service.backup import Place
from nwc_service.backups import Backups
from nwc_service.config import RelaySettings, Settings
from nwc_service.connections import Connections
from nwc_service.datadir import InUse
from nwc_service.directory import Directory
from nwc_service.edges import Edges, StartError, open_edges, remember_port, stable_address
from nwc_service.embedded import EmbeddedRelay, open_embedded_relay
from nwc_service.flow import Flow, build_flow
from nwc_service.gauges import Gauges, watch_loop
from nwc_service.linking import Linking
from nwc_service.methods import resolve_scopes
from nwc_service.metrics.exposition import reading
from nwc_service.outbound import Outbound
from nwc_service.outside import open_outside
from nwc_service.page.site import build as build_site
from nwc_service.ratelimit import Rate
from nwc_service.relay.backoff import RANDOM
from nwc_service.relay.delivery import LATE_S
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from nwc_service.resolve import Resolver
from nwc_service.restore import Margins, Mark, use_with_care
from nwc_service.samples import keep_samples
from nwc_service.store import meta
from nwc_service.store.database import StoreError
from nwc_service.store.meta import ADVERTISED
from nwc_service.wallet.payment import CLOCK_SKEW_S
from nwc_service.wallet.units import BackendName

__all__ = ["Service", "StartError", "running"]

log = structlog.get_logger()

RESTORED_S = 360
NEWEST_INFO = "newest_info"
"""The date of the newest info event that was ever signed."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, for whoever started it."""

    accounts: Accounts
    connections: Connections
    directory: Directory
    relays: Relays
    admin_url: str
    public_url: str | None
    """Where the listener of Lightning addresses is, if there is one."""


@asynccontextmanager
async def running(settings: Settings, *, restored: str | None = None) -> AsyncIterator[Service]:
    """Run the service until left. Raises StartError.

    `restored` says why the data directory is older than what has happened since.
    """
    async with AsyncExitStack() as stack:
        try:
            service = await _start(settings, stack, restored=restored)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise StartError(where + (error.strerror or str(error))) from error
        except (StoreError, InUse, ValueError) as error:
            raise StartError(str(error)) from error
        yield service


async def _start(settings: Settings, stack: AsyncExitStack, *, restored: str | None) -> Service:
    edges = await open_edges(settings, stack)
    await _mark(edges, stack, restored=restored)
    relays: Relays  # bound below, before anything listens
    flow = build_flow(
        edges,
        publish=lambda connection, event: relays.publish(connection, event),
        announce=lambda connection: announcer.announce(connection),
        clock=_clock,
    )
    stack.push_async_callback(flow.spender.drain)
    for name in edges.backends:
        await flow.reconciler.ask_node(name)
    await flow.solvency.check()
    await flow.dispatcher.recover()
    pool = _pool(edges, flow, on_open=lambda url: edges.spawn(announcer.tend(url)))
    relays = Relays(pool)
    await _open_own_relays(edges, flow, stack=stack, pool=pool, relays=relays)
    announcer = await _announcer(edges, relays)
    await edges.db.write(lambda tx: meta.put_list(tx, ADVERTISED, relays.advertised_urls))
    announcer.listen_all()
    for connection, event in await flow.outbox.taken(max_age_s=LATE_S):
        relays.bring(connection, event)
    await announcer.show_all()
    edges.spawn(flow.outbox.run())
    edges.spawn(flow.dispatcher.run())
    edges.spawn(flow.reconciler.run())
    edges.spawn(announcer.run(jitter=RANDOM))
    edges.spawn(_backups(edges).run())
    await _measure(edges, flow, stack=stack, relays=relays)
    public_url = await open_outside(
        edges, flow, stack=stack, outbound=_outbound(settings), clock=_clock
    )
    accounts, connections, admin_url = await _serve_admin(
        edges, flow, stack=stack, relays=relays, announcer=announcer
    )
    log.info("service.started", admin_url=admin_url, relays=list(relays.own_urls))
    return Service(accounts, connections, edges.directory, relays, admin_url, public_url)


async def _mark(edges: Edges, stack: AsyncExitStack, *, restored: str | None) -> None:
    mark = Mark(edges.db, data_dir=edges.settings.data_dir, clock=_clock)
    detail = restored or await mark.behind()
    if detail is not None:
        settings = edges.settings
        margins = Margins(
            future_s=settings.requests.max_future_s,
            unpayable_s=settings.payments.timeout_s + CLOCK_SKEW_S,
        )
        await use_with_care(
            edges.db, backends=edges.backends, margins=margins, detail=detail, now=_clock()
        )
    await mark.keep()
    stack.push_async_callback(mark.keep_at_the_end)
    edges.spawn(mark.keep_for_ever())


def _backups(edges: Edges) -> Backups:
    settings = edges.settings
    return Backups(
        edges.db,
        place=Place(settings.data_dir, settings.database_path),
        settings=settings.backup,
        seal=edges.keyring.sealed,
        clock=_clock,
    )


async def _measure(edges: Edges, flow: Flow, *, stack: AsyncExitStack, relays: Relays) -> None:
    gauges = Gauges(edges, flow, relays=relays, clock=_clock)
    await gauges.start()
    stack.enter_context(reading(gauges.read))
    edges.spawn(watch_loop())
    edges.spawn(keep_samples(edges.db, flow.solvency, clock=_clock))


def _pool(edges: Edges, flow: Flow, *, on_open: Callable[[str], None]) -> RelayPool:
    settings = edges.settings.relay
    per_s = settings.rate_per_s
    return RelayPool(
        client_of=edges.client_of,
        keypair_of=edges.keypair_of,
        on_request=flow.dispatcher.submit,
        spawn=edges.spawn,
        clock=_clock,
        rate=Rate(per_s=per_s, burst=2 * per_s),
        on_open=on_open,
        outbound=_outbound(edges.settings),
        kind_only_urls=settings.kind_only_urls,
        public_urls=_public_urls(settings),
        named_urls=settings.urls,
    )


def _public_urls(settings: RelaySettings) -> Mapping[str, str]:
    """What the one relay is called: with several nobody could tell whose name it is."""
    if settings.public_url is None or len(settings.urls) != 1:
        return {}
    return {settings.urls[0]: settings.public_url}


def _outbound(settings: Settings) -> Outbound:
    return Outbound(allowed_hosts=frozenset(settings.outbound.allowed_hosts))


async def _announcer(edges: Edges, relays: Relays) -> Announcer:
    db = edges.db
    newest = await db.read(lambda tx: meta.get(tx, NEWEST_INFO))
    return Announcer(
        relays,
        directory=edges.directory,
        keyring=edges.keyring,
        methods=edges.methods_of,
        entropy=os.urandom,
        spawn=edges.spawn,
        clock=_clock,
        newest=int(newest or 0),
        remember=lambda date: db.write(lambda tx: meta.put(tx, NEWEST_INFO, str(date))),
    )


async def _open_own_relays(
    edges: Edges, flow: Flow, *, stack: AsyncExitStack, pool: RelayPool, relays: Relays
) -> None:
    """The configured relays, or one of our own where there are none."""
    settings = edges.settings.relay
    public_urls = (settings.public_url,) if settings.public_url else ()
    if settings.urls:
        relays.own(urls=settings.urls, advertised_urls=public_urls or settings.urls)
        return
    embedded = await _embedded(edges, stack=stack, pool=pool)
    local_url = _reachable(embedded.url)
    if not public_urls and local_url != embedded.url:
        log.warning("relay.public_url_missing", advertised=local_url)
    relays.own(
        urls=(local_url, *public_urls),
        advertised_urls=public_urls or (local_url,),
        embedded=embedded,
    )
    # What a client may not have fetched before the relay lost its memory with its process.
    embedded.restore(await flow.outbox.recent(max_age_s=RESTORED_S))
    await remember_port(edges.db, "embedded_relay", port_number=embedded.port)


def _reachable(url: str) -> str:
    """Nobody can connect to a wildcard address."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


async def _embedded(edges: Edges, *, stack: AsyncExitStack, pool: RelayPool) -> EmbeddedRelay:
    settings = edges.settings
    host, port = await stable_address(
        edges.db, "embedded_relay", listen=settings.embedded_relay.listen
    )
    try:
        return await stack.enter_async_context(
            open_embedded_relay(
                host,
                port,
                is_party=edges.directory.is_party,
                on_request=pool.receive_verified,
                require_auth=settings.embedded_relay.require_auth,
                public_url=settings.relay.public_url,
            )
        )
    except OSError as error:
        raise StartError(
            f"the embedded relay cannot listen on {host}:{port}, the address that connection"
            f" URIs contain: {error.strerror}"
        ) from error


def _accounts(edges: Edges, flow: Flow) -> Accounts:
    return Accounts(
        edges.db,
        backends=edges.backends,
        default_backend=edges.default_backend,
        spender=flow.spender,
        clock=_clock,
    )


def _connections(
    edges: Edges, accounts: Accounts, *, relays: Relays, announcer: Announcer
) -> Connections:
    return Connections(
        edges.db,
        accounts=accounts,
        directory=edges.directory,
        keyring=edges.keyring,
        resolve_scopes=resolve_scopes,
        relays_of=relays.advertised,
        lud16_of=lud16_reader(edges.db, edges.settings.public.domain),
        announce=announcer.announce,
        clock=_clock,
    )


def _addresses(edges: Edges, accounts: Accounts) -> Addresses:
    return Addresses(
        edges.db,
        accounts=accounts,
        backends=edges.backends,
        domain=edges.settings.public.domain,
        clock=_clock,
    )


async def _serve_admin(
    edges: Edges,
    flow: Flow,
    *,
    stack: AsyncExitStack,
    relays: Relays,
    announcer: Announcer,
) -> tuple[Accounts, Connections, str]:
    accounts = _accounts(edges, flow)
    connections = _connections(edges, accounts, relays=relays, announcer=announcer)
    state = State(
        db=edges.db,
        books=edges.books,
        accounts=accounts,
        addresses=_addresses(edges, accounts),
        connections=connections,
        linking=Linking(
            connections,
            accounts=accounts,
            relays=relays,
            supported=edges.supported_methods,
            outbound=_outbound(edges.settings),
        ),
        warnings=announcer.warnings,
        relays=relays,
        backends=edges.backends,
        backend_types={
            BackendName(name): configured.type
            for name, configured in edges.settings.backends.items()
        },
        node_info=flow.reconciler.node_info,
        resolver=Resolver(edges.db, backends=edges.backends, spender=flow.spender),
        guard=flow.guard,
        solvency=flow.solvency,
        required_percent=edges.settings.solvency.required_percent,
        clock=_clock,
    )
    settings = edges.settings
    host, port = await stable_address(edges.db, "admin", listen=settings.admin.listen)
    admin = await stack.enter_async_context(
        open_admin(
            build_site(state, token=datadir.admin_token(settings.data_dir)),
            host=host,
            port=port,
            data_dir=settings.data_dir,
        )
    )
    await remember_port(edges.db, "admin", port_number=admin.port)
    return accounts, connections, admin.url


def _clock() -> int:
    return int(time.time())
