"""Makes `from support.packets import ...` work in every test, and hypothesis patient."""

from __future__ import annotations

import os
import sys

import hypothesis

sys.path.insert(0, os.path.dirname(__file__))

# A busy machine is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
