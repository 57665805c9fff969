"""Runs the model on Triton: `open_embedder` is the way in.

What belongs to a Triton of our own is in `embedded` and what that stands on (`installation`, `launcher`, `processes`,
`private_folder`, and `backend`, which runs inside Triton); `remote` is its counterpart for a Triton that others run.
`supervisor` keeps either healthy, and `embedder` sends pictures over a `connection`. `standalone` runs a Triton of our
own for other programs.
"""

from twinset_server.triton.embedder import TritonEmbedder, open_embedder
from twinset_server.triton.listing import list_repository, load_remotely
from twinset_server.triton.standalone import stand_alone

__all__ = ["TritonEmbedder", "list_repository", "load_remotely", "open_embedder", "stand_alone"]
