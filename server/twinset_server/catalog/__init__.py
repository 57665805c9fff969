"""The catalogue of one process: items, pictures and vectors on disk, neighbours from memory.

SQLite is the truth (`schema`, `changes`, `records`), written by one thread in group commits (`writer`) and read by a
few (`readers`). Pictures lie beside it in files (`pictures`). What finds neighbours is derived from it and disposable:
per space one immutable `segment` and the `rows` since (`index`), folded together in the background (`fold`) and read by
`search`. `store` puts all this behind the port.
"""

from twinset_server.catalog.sqlite_catalog import SqliteCatalog, open_catalog

__all__ = ["SqliteCatalog", "open_catalog"]
