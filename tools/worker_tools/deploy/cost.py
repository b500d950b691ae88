"""What running workers cost, from the published prices that the project knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from worker.sizing.placement import SECONDS_PER_HOUR
from worker_tools.deploy.gpus import Gpus


@dataclass(frozen=True, slots=True)
class Price:
    """What one running worker costs on one of the pools.

    Attributes:
        pool: The pool's id.
        usd_per_hour: As a flex worker, US dollars an hour; None where no price is published.
    """

    pool: str
    usd_per_hour: float | None


def prices(gpus: Gpus) -> Iterator[Price]:
    """Yield the price of a worker on each pool, in the order of choice."""
    for pool in gpus.pools:
        each = pool.usd_per_s
        price = None if each is None else round(each * gpus.count * SECONDS_PER_HOUR, 4)
        yield Price(pool.name, price)
