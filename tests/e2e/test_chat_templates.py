"""The check compiles chat templates as transformers does, without importing it."""

from __future__ import annotations

import json
import subprocess
import sys

from worker.settings.chat_template import find_template_error

COMPILE = """
import json, sys
from transformers.utils.chat_template_utils import _compile_jinja_template
def compiles(template):
    try:
        _compile_jinja_template(template)
    except Exception:
        return False
    return True
print(json.dumps([compiles(template) for template in json.load(sys.stdin)]))
"""

TEMPLATES = [
    "{{ messages[0]['content'] }}",
    "{% for m in messages %}{{ m.role }}{% endfor %}",
    "{% for m in messages %}{{ m.role }}",
    "{% for m in messages %}{% continue %}{% endfor %}",
    "{% break %}",
    "{% generation %}{{ x }}{% endgeneration %}",
    "{% generation %}{{ x }}",
    "{% unknown %}",
    "{% trans %}x{% endtrans %}",
    "{% do x.append(1) %}",
    "{{ tools | tojson(indent=4) }}",
    "{{ x | nothing }}",
    "{{ raise_exception('no') }}{{ strftime_now('%Y') }}",
    "{%- set ns = namespace(found=false) -%}{% set ns.found = true %}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}",
    "{% call f() %}x{% endcall %}",
    "{% include 'other' %}",
    "{{ x",
    "}}",
    "{# comment",
    "{% if x is nothing %}{% endif %}{{ y | nothing }}",
    "# heading {{ x }}\n## {% line %}",
]


def test_check_compiles_the_templates_that_transformers_compiles() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        input=json.dumps(TEMPLATES),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = [find_template_error(template) is None for template in TEMPLATES]
    assert dict(zip(TEMPLATES, ours, strict=True)) == dict(zip(TEMPLATES, theirs, strict=True))
    assert {True, False} == set(ours)
