"""Options that every operators' command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option("--data", help="Folder of the catalogue. [default: twinset-data]")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="host:port of a server's AdminService; without it, of the one that holds the folder. TWINSET_TOKEN holds "
        "the token that it asks for, TWINSET_TLS_AUTHORITY names the file of the authority to trust.",
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file. [default: twinset.toml, if it is there]")]
