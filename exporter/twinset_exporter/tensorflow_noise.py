"""Quiets TensorFlow, which talks on stderr before anyone can ask it not to. Call before its first import."""

from __future__ import annotations

import os


def silence() -> None:
    """Set what TensorFlow and Keras read at import."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN announces itself whatever the level. Without it TensorFlow also rounds the same on every processor, as
    # the other side of a parity check should.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
