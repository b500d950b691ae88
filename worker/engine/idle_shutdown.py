"""A patch of vLLM that lets an idle API server stop without an error in its log.

At shutdown, vLLM closes the connection to its engine before it cancels the task that reads from it.
The task takes the closed connection for a dead engine and logs `EngineDeadError` with a traceback.
With two API servers on a machine with two cores, nearly every stop did.

`tests/e2e/test_vllm_contract.py` fails with the reason when vLLM changes what is patched here.
"""

from __future__ import annotations

import functools
from typing import Any


def cancel_output_handler_first(async_llm: type[Any]) -> None:
    """Patch vLLM's `AsyncLLM`, the engine client of an API server.

    Running requests still need the task: it reads their output while the engine drains, and reports
    the end of the engine to those that are left.
    """
    shutdown = async_llm.shutdown

    @functools.wraps(shutdown)
    def shutdown_after_handler(self: Any, *args: Any, **kwargs: Any) -> Any:
        handler = getattr(self, "output_handler", None)
        if (
            handler is not None
            and not handler.done()
            and not self.output_processor.has_unfinished_requests()
        ):
            # vLLM calls this from another thread. It closes the connection in the event loop too,
            # which runs both in this order.
            handler.get_loop().call_soon_threadsafe(handler.cancel)
        return shutdown(self, *args, **kwargs)

    async_llm.shutdown = shutdown_after_handler
