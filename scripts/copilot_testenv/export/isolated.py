"""Make the template of a branch's own service: with it, `deploy-test --isolated` needs no Copilot either."""

from __future__ import annotations

import shutil
from dataclasses import replace

from copilot_testenv.copilot import branch_service
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import scratch
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.deployers.packaged import HOST, ISOLATED, SLUG
from copilot_testenv.export.plain import Origin, Stack, freed
from copilot_testenv.rendering import Renderer


def stack(renderer: Renderer, service: str, environment: str, origin: Origin) -> Stack | Refusal:
    """Return the stack of a slot's service, in which SLUG and HOST stand for those of a branch.

    Return the reason where no branch can have a service of its own.
    """
    settings = renderer.settings
    slot = replace(settings, target="aws").isolated_for(SLUG)
    own = slot if service == settings.base else slot.other(service)
    host = f"{SLUG}.{settings.test_domain}" if settings.test_domain else HOST
    others = [web.base for web in branch_service.web_services(settings.root, slot)]
    urls = {slot.base: f"https://{host}", **{name: f"https://{name}-{host}" for name in others}}
    addresses = Addresses(host, urls if others else {})
    with scratch.temporary("isolated-") as folder:
        try:
            shutil.copytree(settings.root / "copilot", folder / "copilot", symlinks=True)
            branch_service.generate(folder, own, addresses)
        except SettingsError as error:
            return Refusal(str(error))
        except OSError as error:
            raise Failed(f"The manifests cannot be copied to be rendered: {error}.") from error
        found: Template | Refusal = renderer.service(folder, own.service, environment)
    if isinstance(found, Refusal):
        return found
    return freed(f"{ISOLATED}/{settings.app}-{environment}-{service}", service, found, origin)
