# SPDX-License-Identifier: Apache-2.0
"""``python -m backend``."""

import os
import sys

from backend.cli import main

# Threads that wait asleep: spinning ones bring torch to a standstill when something else uses the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Apple's GPU lacks a few operations; torch reads this when it is imported and computes those on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
