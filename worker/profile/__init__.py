"""Profiles: what a model needs, as data; its reading, its choice, and the memory that follows."""

from worker.profile.attention import Attention
from worker.profile.folder import (
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
from worker.profile.model import About, Facts, Hardware, Profile, Sourced, Variant
from worker.profile.selection import all_ids, find_by_model, find_profile, find_variant

__all__ = [
    "ABOUT",
    "EXTENDS",
    "PROFILES",
    "SUFFIX",
    "About",
    "Attention",
    "BrokenProfileError",
    "Facts",
    "Hardware",
    "Profile",
    "Sourced",
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
