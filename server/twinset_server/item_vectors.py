"""Vectors of items: those that callers bring, admitted to their spaces, and those of pictures, embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

from twinset import images
from twinset_server.domain import ItemVector, NewPicture, Picture, PictureDraft, PictureVectors, Space, Vector
from twinset_server.embedding import Outputs, PictureEmbedder
from twinset_server.errors import BadPicture, InvalidRequest, SpaceMismatch, TwinsetError
from twinset_server.ports import Catalog
from twinset_server.scoring import admit


class ItemVectors:
    """Knows what fills which space."""

    def __init__(self, catalog: Catalog, pictures: PictureEmbedder) -> None:
        self._catalog = catalog
        self._pictures = pictures

    def own(self, vectors: Sequence[Vector]) -> list[ItemVector]:
        """Return the vectors that a caller brought, ready to store.

        Raises:
            SpaceMismatch, FingerprintMismatch: a vector doesn't belong to the catalogue.
            BadVector: its dimension is wrong, a component isn't finite, or it has no length.
        """
        spaces = self._catalog.spaces() if vectors else {}
        return [_admitted(vector, spaces, f"vectors[{place}]") for place, vector in enumerate(vectors)]

    def fingerprints(self, taken: Collection[str]) -> dict[str, str]:
        """Return the fingerprints of what pictures are embedded into, by space; those `taken` are left out.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
            SpaceMismatch: a space holds vectors of another model.
        """
        contract = self._pictures.embedder.contract
        return {space: contract.fingerprint_of(output) for output, space in self._filled(taken).items()}

    async def stored(self, pictures: Mapping[str, Sequence[NewPicture]]) -> Mapping[str, PictureVectors]:
        """Return by item what is stored of vectors of the same pictures.

        Args:
            pictures: by item those that it is to have; an item without any is passed over.
        Raises:
            StoreUnavailable: the store can't be read.
        """
        wanted = {item_id: {new.picture.sha256 for new in news} for item_id, news in pictures.items() if news}
        return await self._catalog.picture_vectors(wanted) if wanted else {}

    async def embedded(
        self, pictures: Sequence[NewPicture], taken: Collection[str], stored: PictureVectors, timeout_s: float
    ) -> list[ItemVector]:
        """Return a vector per picture for each of the model's spaces that isn't among `taken`.

        Pictures whose vectors are `stored` are not embedded again.

        Raises:
            TwinsetError: why one of the pictures could not be embedded.
        """
        filled = self._filled(taken)
        if not filled:
            return []
        fresh = [
            place
            for place, new in enumerate(pictures)
            if not stored.get(new.picture.sha256, {}).keys() >= set(filled.values())
        ]
        results = await self._embedded([pictures[place].content for place in fresh], tuple(filled), timeout_s)
        made = dict(zip(fresh, results, strict=True))
        vectors: list[ItemVector] = []
        for place, new in enumerate(pictures):
            if place in made:
                vectors += _vectors_of(new.picture.id, made[place], filled, f"pictures[{place}]")
            else:
                known = stored[new.picture.sha256]
                vectors += [ItemVector(space, new.picture.id, known[space]) for space in filled.values()]
        return vectors

    async def _embedded(
        self, contents: Sequence[bytes], outputs: Sequence[str], timeout_s: float
    ) -> Sequence[Outputs | TwinsetError]:
        if not contents:
            return []
        return await self._pictures.embed(contents, outputs, timeout_s=timeout_s, urgent=False)

    def _filled(self, taken: Collection[str]) -> dict[str, str]:
        """Return the model's outputs that pictures are embedded into, each with its space's name."""
        contract = self._pictures.embedder.contract
        filled = {s.output: s.name for s in contract.spaces if s.name not in taken}
        if filled:
            spaces = self._catalog.spaces()
            for output, name in filled.items():
                _check_same_model(spaces.get(name), contract.fingerprint_of(output), name)
        return filled


def inspected(drafts: Sequence[PictureDraft]) -> list[NewPicture]:
    """Return the pictures with what their headers tell, and their SHA-256; takes a thread's time.

    Raises:
        BadPicture: a picture is of an unknown format, damaged or too large.
    """
    pictures: list[NewPicture] = []
    for place, draft in enumerate(drafts):
        try:
            header = images.read_header(draft.content)
        except images.PictureError as error:
            raise BadPicture(f"pictures[{place}].content", str(error)) from error
        picture = Picture(
            id=draft.id,
            media_type=header.media_type,
            width=header.width,
            height=header.height,
            sha256=hashlib.sha256(draft.content).hexdigest(),
            size_bytes=len(draft.content),
        )
        pictures.append(NewPicture(picture, draft.content))
    return pictures


def _admitted(vector: Vector, spaces: Mapping[str, Space], field: str) -> ItemVector:
    space = spaces.get(vector.space)
    if space is None:
        known = ", ".join(sorted(spaces)) or "none"
        raise SpaceMismatch(
            f"{field}.space", f"{field}.space: the catalogue has no space {vector.space!r}; it has {known}"
        )
    return ItemVector(space.name, "", admit(vector, space, field))


def _vectors_of(
    picture_id: str, result: Outputs | TwinsetError, filled: Mapping[str, str], field: str
) -> list[ItemVector]:
    if isinstance(result, InvalidRequest):
        raise result.within(field)
    if isinstance(result, TwinsetError):
        raise result
    return [ItemVector(filled[output], picture_id, values) for output, values in result.items()]


def _check_same_model(space: Space | None, fingerprint: str, name: str) -> None:
    if space is None or space.fingerprint != fingerprint:
        held = f"vectors of {space.fingerprint}" if space else "no vectors of any model"
        raise SpaceMismatch(
            f"spaces[{name!r}]",
            f"the serving model's fingerprint of {name!r} is {fingerprint}, but the space holds {held}",
        )
