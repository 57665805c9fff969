"""The settings of the picture pipeline, as they travel in a model's contract."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Resize = Literal["squash", "pad", "crop"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

VERSION = 1


@dataclass(frozen=True, slots=True)
class PicturePipeline:
    """How a picture becomes `[height, width, 3]`.

    Attributes:
        height: pixels down, 1 or more.
        width: pixels across, 1 or more.
        resize: `squash` ignores proportions, `pad` fits the picture in and fills up with white, `crop` takes the
            largest centred part of the right proportions.
        interpolation: the filter. `nearest` never averages, so `antialias` doesn't matter to it.
        antialias: True widens the filter when shrinking, so that every pixel counts (Pillow's resize). False samples
            the filter at its plain width (as `tf.image.resize` does by default); `lanczos` has no such variant.
        scaled_decoding: True lets a JPEG be decoded at a fraction of its size. Only where the result is averaged
            anyway: with `antialias`, and not with `nearest`.
        version: version of the pipeline's rules; this code knows 1.

    Raises:
        ValueError: a field is out of range, or the version is unknown.
    """

    height: int
    width: int
    resize: Resize = "squash"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    scaled_decoding: bool = True
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"the picture pipeline is version {self.version}, this twinset knows version {VERSION}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a picture of {self.width} x {self.height} pixels can't be made")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize is {self.resize!r}, expected one of {', '.join(get_args(Resize))}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation is {self.interpolation!r}, expected one of {', '.join(get_args(Interpolation))}"
            )
        if self.interpolation == "lanczos" and not self.antialias:
            raise ValueError("lanczos needs antialias; bilinear and bicubic can do without")

    def to_json(self) -> str:
        """Return the settings as JSON, equal for equal settings."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PicturePipeline:
        """Return the settings that `to_json` wrote.

        Raises:
            ValueError: a value is out of range, or the version is unknown.
            TypeError: a field is missing or unknown.
        """
        return cls(**json.loads(text))
