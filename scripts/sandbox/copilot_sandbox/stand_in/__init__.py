"""An AWS that only answers what `copilot svc package` and `copilot env package` ask.

It stores nothing and creates nothing: each answer is made from a `Deployment`, which says what Copilot is to
believe of the application and one of its environments. So it starts within a tenth of a second, and it has
every certificate, domain and topic that a manifest may name.
"""

from .answers import Deployment
from .server import StandIn

__all__ = ["Deployment", "StandIn"]
