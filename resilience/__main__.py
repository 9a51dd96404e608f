"""``python -m resilience`` is the command ``resilience``."""

from __future__ import annotations

from resilience.cli import main

raise SystemExit(main())
