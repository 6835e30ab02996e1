"""Run the calling script with the Python that scripts/setup prepared (build/venv)."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, "build", "venv")


def use_venv():
    """Replace this process by the venv's interpreter, unless it is that one already."""
    python = os.path.join(VENV, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    if not os.access(python, os.X_OK):
        sys.exit(f"{sys.argv[0]}: {VENV} is not there; run scripts/setup first")
    os.execv(python, [python, *sys.argv])
