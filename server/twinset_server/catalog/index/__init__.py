"""What finds neighbours: derived from the truth, and disposable.

A `builder` folds the change log into `segment_files` with `graph`s over them, and names them in `manifest`s; what it
does next is in `plan`, how it is done on one space in `shelf`, upon its `holdings`. In each worker a `follower` reads
the log and the manifests (`following` is one space of it) and gives out `views`, which `search` answers from.
"""
