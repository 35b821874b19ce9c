"""Run `python -m copilot_sandbox` as `copilot-sandbox`."""

from __future__ import annotations

import sys

from copilot_sandbox.cli import main

sys.exit(main())
