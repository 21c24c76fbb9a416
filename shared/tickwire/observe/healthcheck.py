"""Health check of a container: whether the service at `metrics.port` of this machine is ready.

    python -m tickwire.observe.healthcheck

It runs every few seconds beside each service, so it imports little. The settings, whose import costs several times as
much, are read only if the environment lacks TICKWIRE_METRICS_HOST or TICKWIRE_METRICS_PORT.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from pathlib import Path

from tickwire.errors import ConfigError, TickwireError

TIMEOUT_S = 5.0


def main(config: Path | None = None, *, json_: bool = False) -> int:
    """Print `ready` or the reason, or both as JSON; returns the exit code: 0, 1 if not ready, 2 without a port."""
    try:
        host, port = _address(config)
    except TickwireError as error:
        print(f"tickwire: {error}", file=sys.stderr)
        return 2
    reason = asked("127.0.0.1" if host == "0.0.0.0" else host, port)
    print(json.dumps({"ready": reason is None, "reason": reason}) if json_ else reason or "ready")
    return 1 if reason else 0


def asked(host: str, port: int) -> str | None:
    """Request `/health/ready` (see `tickwire.observe.http`): the reason if not ready, else None. Waits up to 5 s."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"nothing answers at {host}:{port}: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if answer.status == 200 else str(found.get("reason"))


def _address(config: Path | None) -> tuple[str, int]:
    host, port = os.environ.get("TICKWIRE_METRICS_HOST", ""), os.environ.get("TICKWIRE_METRICS_PORT", "")
    if host and port.isdecimal():
        return host, int(port)
    from tickwire import settings as configuration

    settings = configuration.load(config).metrics
    if settings.port is None:
        raise ConfigError("metrics.port is not set, so there is nothing to check", "set it for the service, and here")
    return settings.host, settings.port


if __name__ == "__main__":
    sys.exit(main())
