"""The page about `worker deploy`: its options, and the figures that it computes with."""

from __future__ import annotations

from worker.settings.registry import OptionRegistry
from worker_tools.deploy import gpus, plan, request, sizing
from worker_tools.deploy import options as deploy_options
from worker_tools.deploy.variables import SECRETS_PAGE, refer
from worker_tools.render.markdown import render_template


def deploy_page(_registry: OptionRegistry) -> str:
    """Return the page."""
    return render_template(
        "deploy-command.md.j2",
        options=deploy_options.option_texts(),
        deploy_options=deploy_options,
        sizing=sizing,
        plan=plan,
        most_pools=gpus.MOST_POOLS,
        base_variable=request.BASE_URL_VARIABLE,
        reference=refer("NAME"),
        secrets_page=SECRETS_PAGE,
        default_start_s=sizing.default_start_seconds(),
    )
