"""Hook of mkdocs: rank guides above generated reference pages in the site's search."""

from typing import Any

BOOST = {
    "deployment.md": 2,
    "migrate.md": 3,
    "sizes.md": 2,
    "troubleshooting.md": 2,
    "tools.md": 2,
    "engine-options.md": 0.5,
    "architecture.md": 0.5,
    "fault-tests.md": 0.5,
    "moving-vllm.md": 0.5,
}
"""Factor of a page's rank; 1 for all others."""

PROFILES = "profiles/"
PROFILES_BOOST = 0.7
"""There are many profiles, and most have the same words."""


def on_page_markdown(_markdown: str, page: Any, **_others: Any) -> None:
    """Set the factor as `search.boost` in the page's front matter does."""
    path = page.file.src_uri
    boost = PROFILES_BOOST if path.startswith(PROFILES) else BOOST.get(path, 1)
    page.meta["search"] = {"boost": boost}
