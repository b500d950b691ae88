"""Sizing before deployment: which profile, which GPU, how many concurrent requests."""

from worker.sizing.advice import advise
from worker.sizing.placement import Placement, cheapest, place_all, place_on
from worker.sizing.target import SizingTarget, load_target

__all__ = [
    "Placement",
    "SizingTarget",
    "advise",
    "cheapest",
    "load_target",
    "place_all",
    "place_on",
]
