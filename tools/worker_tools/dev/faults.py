"""Faults that a test puts between worker and platform, one operation at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Operation = Literal["take", "stream", "done", "stop", "ping"]


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """One request of a worker.

    Attributes:
        operation: What it asks for; `take` covers the batch form too.
        worker_id: Who asks.
        job_id: The job that it is about; None for take, stop and ping.
        body: The raw body; empty for GET.
    """

    operation: Operation
    worker_id: str
    job_id: str | None
    body: bytes


@dataclass(slots=True)
class Fault:
    """What happens to the next matching calls instead of the usual.

    Attributes:
        operation: The operation that it applies to.
        calls: How many matching calls it applies to; None for all.
        when: Further condition; None matches every call of the operation.
        delay_s: Seconds to wait before anything else.
        status: HTTP status to answer; None leaves the reply as it is.
        body: Body to answer instead of the real one, sent as `application/json`.
        drop: Close the connection without an answer.
        processed: Whether the call takes effect in spite of `status`, `body` or `drop`: a lost
            reply. The platform then believes that its reply has arrived.
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
        """Whether the worker gets something else than the real reply."""
        return self.drop or self.status is not None or self.body is not None


class Faults:
    """The faults in force, oldest first; empty means a platform without faults."""

    def __init__(self, *faults: Fault) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Put one more fault in force."""
        self._faults.append(fault)

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()

    def match(self, call: WorkerCall) -> Fault | None:
        """Return the first fault that applies to `call`, and count it as used once."""
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
