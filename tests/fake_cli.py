# SPDX-License-Identifier: Apache-2.0
"""The real command line with the fake pipeline: ``python tests/fake_cli.py COMMAND ...``."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend import cli, jobs


def load_pipeline():
    from tests import fake_pipeline

    return fake_pipeline


if __name__ == "__main__":
    # Tests that run in the background hand their processes down deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs.load_pipeline = load_pipeline
    sys.exit(cli.main(sys.argv[1:]))
