# SPDX-License-Identifier: Apache-2.0
"""The real worker with the fake pipeline: ``python tests/fake_worker.py [SECONDS]``, the time that loading takes."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend import worker


def load_pipeline():
    if len(sys.argv) > 1:
        time.sleep(float(sys.argv[1]))
    from tests import fake_pipeline

    return fake_pipeline


if __name__ == "__main__":
    worker.main(load_pipeline, lambda: "cpu")
