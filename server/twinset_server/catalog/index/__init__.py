"""What finds neighbours: derived from the truth, and disposable.

A `builder` folds the change log into `segment_files` (a `segment_writer` writes them), merges these and builds `graph`s
over them (`segment_graph`), and names them in `manifest`s; what it merges next is in `plan`, who goes first in `lanes`,
how it is done on one space in `shelf`, upon its `holdings`. In each worker a `follower` reads
the log and the manifests (`following` is one space of it) and gives out `views`, which `search` answers from.
"""
