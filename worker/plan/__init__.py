"""Planning before paying: which profile, which GPU, how many requests at once."""

from worker.plan.advice import advise
from worker.plan.placement import Placement, cheapest, place_all, place_on
from worker.plan.question import Question, ask

__all__ = ["Placement", "Question", "advise", "ask", "cheapest", "place_all", "place_on"]
