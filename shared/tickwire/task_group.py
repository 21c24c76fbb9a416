"""Task groups that leave a task as cancelled as it was.

In Python 3.11 and 3.12 a task stays marked as cancelled if a child fails while its group waits for its children
(python/cpython#116720, mended in 3.13). `asyncio.Task.cancelling` is then wrong for as long as the task lives, and up
to 3.11.2 each later `asyncio.timeout` in it raises CancelledError instead of TimeoutError (python/cpython#102780). The
other way round, a cancellation that arrives while children fail is lost: the task goes on.
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Self

if sys.version_info >= (3, 13):
    TaskGroup = asyncio.TaskGroup
else:

    class TaskGroup(asyncio.TaskGroup):
        """A task group as that of Python 3.13."""

        async def __aenter__(self) -> Self:
            """Enter it, once."""
            await super().__aenter__()
            self._cancelled_before = _current().cancelling()
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            """Wait for the children. Raises BaseExceptionGroup if one failed, CancelledError if it was cancelled."""
            task = _current()
            # The group takes its own cancellation back only if that came before it waits for the children.
            taken_back = self._parent_cancel_requested  # type: ignore[attr-defined]
            try:
                await super().__aexit__(kind, error, traceback)
            except BaseExceptionGroup:
                if self._parent_cancel_requested and not taken_back:  # type: ignore[attr-defined]
                    task.uncancel()
                # What cancelled the task, too, such as a timeout, may take that back before the task waits again.
                asyncio.get_running_loop().call_soon(_cancel_again, task, self._cancelled_before)
                raise


def _cancel_again(task: asyncio.Task[object], before: int) -> None:
    """Cancel a task that was cancelled while a group in it failed; `before`: how often it was when the group began."""
    if task.cancelling() > before:
        task.uncancel()
        task.cancel()


def _current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


__all__ = ["TaskGroup"]
