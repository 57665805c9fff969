"""`python -m twinset_server`."""

from twinset_server.cli import main

main()
