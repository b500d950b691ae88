"""Compiles a chat template as transformers does, to find its errors before vLLM starts.

Source:
    `transformers.utils.chat_template_utils._cached_compile_jinja_template`: the sandbox, options,
    extensions, filters and globals. An end-to-end test compares the two.
"""

from __future__ import annotations

import re
from typing import Any

LIKE_TEMPLATE = "{}\n"
"""vLLM takes a text with one of these for a template, and any other one for a file's path."""

ASKS_FOR_NAMES = re.compile(r"\bis\s+(not\s+)?(filter|test)\b")
"""A template that asks whether a filter exists may use one that does not."""


def is_template(text: str) -> bool:
    """Whether vLLM takes `text` for a template, not for a path."""
    return any(mark in text for mark in LIKE_TEMPLATE)


def find_template_error(template: str) -> str | None:
    """Return the error of a template with its line; None if it compiles.

    Unknown filters and tests are found too. What depends on a request's messages is not.
    """
    # Imported here, because most configurations have no template.
    from jinja2 import TemplateError, TemplateSyntaxError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag around what an assistant wrote: `{% generation %}`."""

        tags = {"generation"}  # noqa: RUF012  the attribute of jinja2's class

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("render")
            return nodes.CallBlock(call, [], [], body).set_lineno(line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    try:
        tree = environment.parse(template)
        environment.from_string(template)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    except RecursionError:
        return "nested too deeply"
    except (TemplateError, ValueError, SyntaxError, MemoryError) as error:
        return str(error).partition(" (<")[0]
    if ASKS_FOR_NAMES.search(template):
        return None
    # Inside a condition jinja2 resolves these names only when it renders that part.
    for kind, known in ((nodes.Filter, environment.filters), (nodes.Test, environment.tests)):
        for node in tree.find_all(kind):
            if node.name not in known:
                return f"line {node.lineno}: No {kind.__name__.lower()} named {node.name!r}."
    return None
