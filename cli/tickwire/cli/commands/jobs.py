"""The group `tickwire jobs`: list, cancel."""

from __future__ import annotations

from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import GROUP, Config, Json

app = typer.Typer(help="List and cancel fetch jobs.", **GROUP)


@app.command("list")
def list_(
    ended: Annotated[bool, typer.Option("--all", help="Also those that are done, of the last hour.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print the fetch jobs that are queued or running, and those that failed in the last hour."""
    from tickwire.cli import jobs

    return invoke(jobs.list_, config, ended, json)


@app.command()
def cancel(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, as `tickwire jobs list` prints them.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """Cancel fetch jobs.

    What they stored is kept. Exit code 1 when a job is unknown.
    """
    from tickwire.cli import jobs as module

    return invoke(module.cancel, config, jobs, json)
