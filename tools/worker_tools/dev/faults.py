"""Faults that a test injects between worker and platform, for each operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Operation = Literal["take", "stream", "done", "stop", "ping"]


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """One request of a worker.

    Attributes:
        operation: The operation; `take` includes the batch form.
        worker_id: The calling worker.
        job_id: The job; None for take, stop and ping.
        body: The raw body; empty for GET.
    """

    operation: Operation
    worker_id: str
    job_id: str | None
    body: bytes


@dataclass(slots=True)
class Fault:
    """A fault for the next matching calls.

    Attributes:
        operation: The operation that it applies to.
        calls: How many matching calls it applies to; None for all.
        when: Further condition; None matches every call of the operation.
        delay_s: Seconds to wait first.
        status: HTTP status of the response; None keeps the real response.
        body: Body instead of the real one, sent as `application/json`.
        drop: Close the connection without a response.
        processed: Whether the call takes effect although `status`, `body` or `drop` is set: a lost
            reply. The platform then treats the reply as delivered.
    """

    operation: Operation
    calls: int | None = 1
    when: Callable[[WorkerCall], bool] | None = None
    delay_s: float = 0.0
    status: int | None = None
    body: bytes | None = None
    drop: bool = False
    processed: bool = False

    @property
    def answers(self) -> bool:
        """Whether the worker gets another reply than the real one."""
        return self.drop or self.status is not None or self.body is not None


class Faults:
    """The active faults, oldest first."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Activate a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def match(self, call: WorkerCall) -> Fault | None:
        """Return the first fault that applies to `call` and count its use."""
        for fault in self._faults:
            if fault.operation != call.operation:
                continue
            if fault.when is not None and not fault.when(call):
                continue
            if fault.calls is not None:
                fault.calls -= 1
                if fault.calls <= 0:
                    self._faults.remove(fault)
            return fault
        return None
