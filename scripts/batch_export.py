# SPDX-License-Identifier: Apache-2.0
"""All photos of a folder become heads; makes its own Python environment on first use.

python3 scripts/batch_export.py FOLDER --out DIR [--format glb|obj|ply] [--recursive | --people] [settings]

Photos that an earlier run has done with the same settings are skipped. DIR/summary.csv has a line for each photo.
Exit code: 0 when all went well, 3 when some photos failed.
"""

import sys

from protome import main

if __name__ == "__main__":
    sys.exit(main(["batch", *sys.argv[1:]]))
