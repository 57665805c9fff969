"""`python -m twinset_exporter`."""

from twinset_exporter.cli import main

main()
