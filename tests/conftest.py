"""Makes `from support.packets import ...` work in every test, and hypothesis patient."""

from __future__ import annotations

import os
import signal
import sys

import hypothesis

sys.path.insert(0, os.path.dirname(__file__))

# Behind a script's "&" Ctrl-C is ignored, and programs that a test starts would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
