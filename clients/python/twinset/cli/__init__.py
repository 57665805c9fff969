"""`twinset`, the command line. Its packages come with `twinset[cli]`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit: 0, 1 where some elements failed, 2 where the call or the server was wrong."""
    try:
        from twinset.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich", "pyarrow"):
            raise
        print("twinset: the command line needs more packages: pip install 'twinset[cli]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
