"""Commands that run until they are stopped (up, demo, service, simulator), and those of deployments."""

from __future__ import annotations

from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import GROUP, Config, Json, Service

app = typer.Typer(**GROUP)


@app.command()
def up(
    config: Config = None,
    cache: Annotated[int, typer.Option("--cache", metavar="N", help="Number of cache processes.")] = 1,
    fetcher: Annotated[int, typer.Option("--fetcher", metavar="N", help="Number of fetcher processes.")] = 1,
    streamer: Annotated[int, typer.Option("--streamer", metavar="N", help="Number of streamer processes.")] = 1,
) -> int:
    """Run everything in this terminal, and restart what fails.

    Starts a broker unless nats.url is set, and every service; the sink only where sink.url or sink.plugin is set, the
    archive where archive.root is, the page where its packages are installed and web.enabled is not false. Other
    commands on the same data folder find the broker by themselves. Ctrl-C stops everything.
    """
    from tickwire.cli.processes import up as module

    return invoke(module.up, config, {"cache": cache, "fetcher": fetcher, "streamer": streamer})


@app.command()
def demo(config: Config = None) -> int:
    """Show everything on a simulated exchange, without a network.

    Fetches several keys, lists the cache, draws a chart and checks every file. Then shows live trades, a book and
    candles, cuts the exchange's WebSocket for three seconds, and compares the tape with the exchange's own trades.
    Takes about half a minute. All files are in the folder demo of the data folder. A second run fetches only what is
    missing.
    """
    from tickwire.cli.demo import demo as module

    return invoke(module.demo, config)


@app.command()
def service(
    name: Annotated[Service, typer.Argument(metavar="NAME", help="fetcher, streamer, cache, sink, archive or web")],
    config: Config = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="ID", help="Unique name of this process; random by default.")
    ] = None,
) -> int:
    """Run one service in this process, as containers do."""
    from tickwire.cli.processes import service as module

    return invoke(module.service, config, name.value, instance)


@app.command()
def declare(
    config: Config = None,
    export: Annotated[bool, typer.Option("--export", help="Those of account EXPORT, as its user exporter.")] = False,
    json: Json = False,
) -> int:
    """Create the broker's streams as configured, for services that are not permitted to."""
    from tickwire.cli.processes import declare as module

    return invoke(module.declare, config, export, json)


@app.command()
def health(config: Config = None, json: Json = False) -> int:
    """Ask the service at metrics.port of this machine whether it is ready: exit code 0 if so, else 1."""
    from tickwire.observe import healthcheck

    return healthcheck.main(config, json_=json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def simulator(context: typer.Context) -> int:
    """Run a simulated exchange on loopback."""
    from tickwire.cli.processes import simulator as module

    return invoke(module.simulator, context.args)
