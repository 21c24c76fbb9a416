"""Structured logs on standard error, for people or as JSON; levels can be changed while running.

Loggers are named like modules (`tickwire.fetcher`), and levels are inherited as in the standard library.
Exchange, symbol and subject are fields, not text. Nothing is logged per row or per message above debug.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from tickwire.redaction import redacted
from tickwire.settings import LogSettings

_of_process: dict[str, Any] = {}
"""Fields of every line, from any thread: context variables do not reach the threads of an executor."""


def _with_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**_of_process, **event}


_SHARED: list[Processor] = [
    _with_fields,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """Redacts secrets in every line, including tracebacks and the logs of libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _print_redacted(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(error))))


def configure(settings: LogSettings, **fields: Any) -> None:
    """Send all logs of this process to standard error; `fields` (service, instance) are added to every line."""
    as_text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    # Tracebacks without the values of variables, which ConsoleRenderer shows by default.
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Redacting(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    # The traceback of an exception that ends the process is redacted, too.
    sys.excepthook = _print_redacted
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # For libraries that use structlog themselves.
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _configured[:] = [True]
    _of_process.clear()
    _of_process.update(fields)
    set_level(settings.level)
    for name, level in settings.levels.items():
        set_level(level, name)


def set_level(level: str, logger: str = "tickwire") -> None:
    """Change the level of a logger, and of those below it without a level of their own."""
    logging.getLogger(logger).setLevel(level.upper())


def exists(logger: str) -> bool:
    """Whether a module that was imported here has this logger, or one below it."""
    return any(f"{name}.".startswith(f"{logger}.") for name in list(logging.Logger.manager.loggerDict))


def get(name: str) -> FilteringBoundLogger:
    """The logger of a module: `log = logs.get(__name__)`.

    In a program that uses tickwire as a library and does not call `configure`, it is a logger of the standard library
    with the fields in the text and as `extra`. The program's own configuration of structlog is not touched.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _finished],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return cast(FilteringBoundLogger, logger)


_configured: list[bool] = []
"""Not empty once `configure` was called, as in the processes of tickwire itself."""


def _finished(logger: Any, method: str, event: EventDict) -> Any:
    """The arguments for the standard library's logger."""
    if not _configured:
        found = structlog.stdlib.render_to_log_kwargs(logger, method, event)
        facts = ", ".join(f"{name}={value}" for name, value in found["extra"].items())
        return {**found, "msg": f"{found['msg']} ({facts})" if facts else found["msg"]}
    for processor in _SHARED:
        event = cast(EventDict, processor(logger, method, event))
    return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, method, event)
