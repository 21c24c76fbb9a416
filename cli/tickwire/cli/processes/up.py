"""`tickwire service`, `up` and `simulator`: the processes that stay.

A service process subscribes to `control.log` besides what the service itself speaks (see there).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

from nats.aio.msg import Msg

from tickwire import settings as configuration
from tickwire.bus import embedded, streams
from tickwire.bus.broker_identity import broker_unchanged
from tickwire.bus.connection import Bus, UrlSource, connect
from tickwire.bus.embedded import WebSocket
from tickwire.bus.kept_broker import kept_broker
from tickwire.bus.metrics import observed
from tickwire.bus.service import may_answer
from tickwire.cli.connection import broker_place
from tickwire.cli.output import render
from tickwire.errors import BadRequest, BrokerChanged, BrokerUnavailable, ConfigError, StorageError, TickwireError
from tickwire.exchange import ccxt_import
from tickwire.model import broker_urls, messages, subjects
from tickwire.model.messages import LogLevel
from tickwire.observe import logs, loop_lag
from tickwire.observe.http import monitored
from tickwire.observe.metrics import Metrics
from tickwire.process import optional_packages, ports, private_files, runfile, supervisor
from tickwire.process.lifecycle import Exit, leaf, leaves, until_stopped
from tickwire.settings import Settings

CONTROL_LOG = "control.log"
READY_POLL_S = 0.05
COMMAND = (sys.executable, "-m", "tickwire.cli.main")

Serve = Callable[[Bus, Settings, str, asyncio.Event, Metrics], Awaitable[None]]

log = logs.get(__name__)


async def service(stop: asyncio.Event, config: Path | None, name: str, instance: str | None) -> int:
    """One service in this process, until it is told to stop.

    Everything is opened anew when the broker turns out to be another one. Once the service has answered requests, an
    error that would be a refusal to start is a failure: whoever supervises this process starts it again.
    """
    settings = configuration.load(config)
    identity = subjects.instance_name(instance or f"{name}-{secrets.token_hex(3)}")
    logs.configure(settings.log, service=name, instance=identity)
    place = broker_place(settings)
    # Only the chosen service is imported, and of ccxt only what that one uses.
    ccxt_import.install()
    serve = getattr(importlib.import_module(f"tickwire.{name}.service"), f"serve_{name}")
    served = False
    while True:
        metrics = Metrics()
        metrics.again = served
        try:
            await _live(stop, settings, name, identity, place, metrics, serve)
            return Exit.OK
        except (TickwireError, BaseExceptionGroup) as error:
            served = served or metrics.served
            changed = next((each for each in leaves(error) if isinstance(each, BrokerChanged)), None)
            if changed is None:
                if not served or not isinstance(first := leaf(error), TickwireError):
                    raise
                print(f"tickwire: {first}", file=sys.stderr)
                return Exit.FAILED
            if stop.is_set():
                return Exit.OK
            log.warning("the broker has changed", reason=changed.message)


async def _live(
    stop: asyncio.Event, settings: Settings, name: str, identity: str, place: UrlSource, metrics: Metrics, serve: Serve
) -> None:
    """One life of a service on one broker. Raises BrokerChanged at its end."""
    async with connect(settings.nats, name=identity, url=place) as bus:
        await streams.declare_for(bus.jetstream, settings)
        await follow_log_level(bus)
        log.info("started", broker=bus.url, pid=os.getpid())
        meter = loop_lag.measured(lambda ms: log.info("stalls", longest_stall_ms=ms))
        with observed(bus, metrics):
            async with (
                monitored(settings.metrics, metrics),
                broker_unchanged(bus, streams.names(settings), metrics),
                meter if settings.log.stalls else nullcontext(),
            ):
                await serve(bus, settings, identity, stop, metrics)
        log.info("stopped")


async def declare(stop: asyncio.Event, config: Path | None) -> None:
    """Make every stream as the configuration wants it, for services that may not."""
    settings = configuration.load(config)
    logs.configure(settings.log)
    async with connect(settings.nats, name="tickwire-declare", url=broker_place(settings)) as bus:
        await streams.declare_for(bus.jetstream, settings)
        await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
    copies = f", each kept by {settings.nats.replicas} servers" if settings.nats.replicas > 1 else ""
    render.say(f"the streams at {bus.url} are as the configuration wants them{copies}")


async def follow_log_level(bus: Bus) -> None:
    """From now on set the levels that `control.log` asks for, and confirm where a confirmation is asked for."""

    async def take(message: Msg) -> None:
        wanted = messages.decode(message.data, LogLevel)
        logs.set_level(wanted.level, wanted.logger)
        if message.reply and may_answer(message):
            await bus.publish(message.reply, wanted)

    await bus.subscribe(CONTROL_LOG, take)


async def up(stop: asyncio.Event, config: Path | None, caches: int, fetchers: int, streamers: int) -> None:
    """A broker if none is configured, and every service, until stopped."""
    counts = {"cache": caches, "fetcher": fetchers, "streamer": streamers}
    if min(counts.values()) < 1:
        raise BadRequest(
            "at least one cache, one fetcher and one streamer are needed", "leave --cache, --fetcher and --streamer out"
        )
    settings = configuration.load(config)
    if settings.sink.url is not None:
        counts["sink"] = 1
    logs.configure(settings.log)
    optional_packages.require(counts, server=settings.nats.url is not None or embedded.has_server(settings.nats.server))
    check_metrics_ports(settings, sum(counts.values()))
    shared = not own_cache(settings)
    if shared:
        # With the permissions that are usual here, and so what is written there.
        check_writable(settings.cache_dir)
    umask = os.umask(private_files.UMASK)
    check_writable(settings.cache_dir)
    async with AsyncExitStack() as stack:
        publish = stack.enter_context(runfile.held(settings.data_dir))
        url = settings.nats.url
        if url is None:
            url = await stack.enter_async_context(own_broker(settings))
        # A wrong URL should end this command, not make every service try for ever.
        bus = await stack.enter_async_context(connect(settings.nats, name="tickwire-up", url=url))
        websocket = websocket_of(settings) if settings.nats.url is None else None
        publish(url, None if websocket is None else broker_urls.with_token(websocket.url, broker_urls.token_of(url)))
        also = f" and {websocket.url}" if websocket is not None else ""
        render.say(f"broker at {bus.url}{also}, data in {settings.data_dir}")
        env = child_environment(os.environ, TICKWIRE_NATS_URL=url, **adopting(settings))
        async with asyncio.TaskGroup() as group:
            cache_umask = umask if shared else None
            programs = service_programs(
                counts, config, env, metrics_port=settings.metrics.port, cache_umask=cache_umask
            )
            settled = asyncio.Event()
            group.create_task(supervisor.keep(programs, stop, render.say, settled))
            group.create_task(until_stopped(stop, runfile.removed(settings.data_dir)))
            await until_stopped(stop, _welcome(bus, settings, config, counts, settled))
            if stop.is_set():
                render.say("stopping")


def check_metrics_ports(settings: Settings, count: int) -> None:
    """Raises ConfigError where a port is taken that one of so many processes is to answer at."""
    first, host = settings.metrics.port, settings.metrics.host
    if first is None:
        return
    ours = {settings.nats.port: "nats.port", settings.nats.websocket_port: "nats.websocket_port"}
    for port in range(first, first + count):
        whose = ours.get(port) if settings.nats.url is None else None
        if whose is not None or not ports.is_free(port, host):
            at = f"{host}:{port}" + (f" (from {first} on, one for each process)" if port != first else "")
            by = f"is also {whose}" if whose else "is taken by another program"
            raise ConfigError(f"metrics.port: {at} {by}", "choose another metrics.port, or leave it out")


async def _welcome(
    bus: Bus, settings: Settings, config: Path | None, counts: Mapping[str, int], settled: asyncio.Event
) -> None:
    for name, count in counts.items():
        await ready(bus, name, count)
    settled.set()
    option = f" --config {config}" if config else ""
    render.say(f"ready: {', '.join(render.plural(count, name) for name, count in counts.items())}. Ctrl-C stops all")
    print(
        "Next, in another terminal:\n"
        f"  tickwire candles fetch{option} binance BTC/USDT 1h --since 30d\n"
        f"  tickwire candles get{option} binance BTC/USDT 1h --since 2d\n"
        f"  tickwire watch{option} trade binance BTC/USDT\n"
        f"  tickwire status{option}",
        file=sys.stderr,
        flush=True,
    )
    await asyncio.Event().wait()


def service_programs(
    counts: Mapping[str, int],
    config: Path | None,
    env: Mapping[str, str],
    log_dir: Path | None = None,
    metrics_port: int | None = None,
    cache_umask: int | None = None,
) -> list[supervisor.Program]:
    """So many processes of each service; their logs in `log_dir`, else on our standard error.

    From `metrics_port` on, each gets the next port. Caches have `cache_umask`, else ours.
    """
    option = ["--config", str(config)] if config else []
    instances = [(name, number) for name, count in counts.items() for number in range(1, count + 1)]
    return [
        supervisor.Program(
            name=name if counts[name] == 1 else f"{name} {number}",
            argv=[*COMMAND, "service", name, *option],
            env=env if metrics_port is None else {**env, "TICKWIRE_METRICS_PORT": str(metrics_port + place)},
            log=log_dir / f"{name}.log" if log_dir else None,
            umask=cache_umask if name == "cache" else None,
        )
        for place, (name, number) in enumerate(instances)
    ]


@asynccontextmanager
async def own_broker(settings: Settings) -> AsyncIterator[str]:
    """The embedded broker of a data folder, kept alive, where it was before if that can be; yields its URL.

    Raises ConfigError when a port that is configured is taken, and as `kept_broker` does.
    """
    folder, wanted = settings.data_dir / "nats", settings.nats.port
    choice = ports.preferred(embedded.last_port(folder)) if wanted is None else [wanted]
    websocket, token = websocket_of(settings), embedded.token_of(folder)
    try:
        async with kept_broker(folder, settings.nats.server, render.say, websocket, choice, token) as url:
            embedded.remember_port(folder, int(url.rpartition(":")[2]))
            yield url
    except embedded.PortTaken as error:
        name = "nats.port" if error.port == wanted else "nats.websocket_port"
        raise ConfigError(f"{name}: {error.message}", f"stop that one, or set another {name}") from error


def websocket_of(settings: Settings) -> WebSocket | None:
    """Where the embedded broker takes WebSockets, if it does."""
    if settings.nats.websocket_port is None:
        return None
    return WebSocket(settings.nats.websocket_port, tuple(settings.nats.websocket_origins))


def adopting(settings: Settings) -> dict[str, str]:
    """What lets the caches of `up` go on where its broker's data were lost.

    Only in its own data folder, which nobody else works on while it is up, and only with its own broker.
    """
    return {"TICKWIRE_CACHE_ADOPT": "true"} if settings.nats.url is None and own_cache(settings) else {}


def own_cache(settings: Settings) -> bool:
    """Whether the cache folder is in the data folder: one elsewhere may be shared on purpose."""
    return settings.cache_dir.absolute().is_relative_to(settings.data_dir.absolute())


def child_environment(environ: Mapping[str, str], **variables: str) -> dict[str, str]:
    """The environment of a child: ours, and these variables."""
    return {**environ, **variables}


async def ready(bus: Bus, service: str, count: int = 1) -> None:
    """Wait until so many instances of a service answer."""
    # Polled: nothing announces that an endpoint is there.
    while len(await instances(bus, service, count)) < count:  # noqa: ASYNC110
        await asyncio.sleep(READY_POLL_S)


async def instances(bus: Bus, service: str, count: int) -> set[bytes]:
    """The distinct answers to a ping of a service within half a second, at most `count`."""
    try:
        return set(await bus.request_all(f"$SRV.PING.{service}", wait_s=0.5, most=count))
    except BrokerUnavailable:
        return set()


def check_writable(folder: Path) -> None:
    """Make a folder if it is not there. Raises StorageError when files cannot be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to the folder {folder}: {error.strerror}", "set data_dir or cache.dir, or its permissions"
        ) from error


async def simulator(stop: asyncio.Event, arguments: Sequence[str]) -> None:
    """The simulated exchange in this process, until it is told to stop."""
    configured = importlib.import_module("tickwire.simulator.__main__").configured
    settings = configured(list(arguments))
    serve = importlib.import_module("tickwire.simulator.server").serve
    await serve(settings, stop)
