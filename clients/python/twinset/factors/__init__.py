"""Folders of taste factors, as `twinset-exporter train taste` writes them and a server imports them.

manifest.json                        what they are, and the SHA-256 of every other file; written last
items.npy, items.txt                 `[I, D]` float32, the last component an item's bias; one id a line
users.npy, users.txt                 `[U, D]` float32, the last component 1; one id a line
fold_in_liked.npy                    `[I, D - 1]` float32, what a like adds to its user
fold_in_known.npy                    `[I, D - 1]` float32, what an act adds that is no like
fold_in_start.npy                    `[D - 1]` float32, a user who did nothing

The score of an item for a user is the inner product of their factors. `FoldIn` makes the factors of a user who isn't in
the file. Nothing is pickled; arrays are mapped and ids read as they come, so that a million users pass through in a few
megabytes.
"""

from twinset.factors.fold_in import FoldIn
from twinset.factors.folder import FactorFolder, FactorRows, open_factors
from twinset.factors.manifest import FactorsError, Manifest, predicted_space

__all__ = ["FactorFolder", "FactorRows", "FactorsError", "FoldIn", "Manifest", "open_factors", "predicted_space"]
