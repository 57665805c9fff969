"""Folders of vectors, as `twinset-exporter embed` writes them and `twinset put --vectors` reads them.

manifest.json                           what made them; absent in folders that come from elsewhere

embedding.npy, ids.txt                  format npy: `[N, D]` float32, a file an output; one id a line
vectors.parquet                         format parquet: column `id`, and a column of lists an output
img_embeddings.txt, indexes.txt         format text: a row of numbers a picture; file name, 0x01, row
"""

from twinset.vectors.manifest import Format, Manifest, OutputVectors, VectorsError
from twinset.vectors.reading import Row, VectorFolder, open_vectors

__all__ = ["Format", "Manifest", "OutputVectors", "Row", "VectorFolder", "VectorsError", "open_vectors"]
