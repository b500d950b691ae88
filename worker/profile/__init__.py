"""Profiles: the settings and facts of a model as data, their loading, selection and memory."""

from worker.profile.attention import Attention
from worker.profile.loader import (
    ABOUT,
    EXTENDS,
    PROFILES,
    SUFFIX,
    BrokenProfileError,
    builtin_folder,
    load_all,
    load_profile,
    names,
    read_mapping,
)
from worker.profile.model import (
    Facts,
    ModelInfo,
    Profile,
    RecommendedHardware,
    SourcedFact,
    Speculation,
    Variant,
)
from worker.profile.selection import all_ids, find_by_model, find_profile, find_variant

__all__ = [
    "ABOUT",
    "EXTENDS",
    "PROFILES",
    "SUFFIX",
    "Attention",
    "BrokenProfileError",
    "Facts",
    "ModelInfo",
    "Profile",
    "RecommendedHardware",
    "SourcedFact",
    "Speculation",
    "Variant",
    "all_ids",
    "builtin_folder",
    "find_by_model",
    "find_profile",
    "find_variant",
    "load_all",
    "load_profile",
    "names",
    "read_mapping",
]
