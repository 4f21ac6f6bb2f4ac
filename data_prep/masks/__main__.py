"""Command line of the packaged segmentation set.

Example: python -m data_prep.masks --out data/nuclei_masks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.errors import MedvlpError


def main() -> int:
    """Write the folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.masks", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--tile", type=int, default=300, help="side of a region in pixels")
    parser.add_argument("--seed", type=int, default=0, help="seed of the splits")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    arguments = parser.parse_args()
    try:
        from data_prep.masks.nuclei import write_nuclei

        done = write_nuclei(arguments.out, tile=arguments.tile, seed=arguments.seed, overwrite=arguments.overwrite)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"masks: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
