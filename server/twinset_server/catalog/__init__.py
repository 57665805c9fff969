"""The catalogue on disk, shared by the processes of one server: items, users, interactions, pictures and vectors.

SQLite is the truth and the log of changes (`store`). Each process writes to it in turn with the others and reads it by
itself. What finds neighbours (`index`) is derived from it and disposable. `sqlite_catalog` puts both behind the port,
and `opening` says who opens what.
"""

from twinset_server.catalog.external import external_space
from twinset_server.catalog.folder import Folder, hold, join
from twinset_server.catalog.kept_factors import kept_factors
from twinset_server.catalog.opening import declare_spaces, open_alone, open_catalog
from twinset_server.catalog.sqlite_catalog import SqliteCatalog

__all__ = [
    "Folder",
    "SqliteCatalog",
    "declare_spaces",
    "external_space",
    "hold",
    "join",
    "kept_factors",
    "open_alone",
    "open_catalog",
]
