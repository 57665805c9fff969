"""What an operator does to the folder of a catalogue: back it up, restore, check, compact it, build its index anew.

`generations` opens the index as those do who search, `pictures` takes the locks that keep contents, `copying` moves
bytes with their checksums. `folder` puts the five works behind the port.
"""

from twinset_server.catalog.maintenance.folder import FolderMaintenance
from twinset_server.catalog.maintenance.idle import IdleFolder

__all__ = ["FolderMaintenance", "IdleFolder"]
