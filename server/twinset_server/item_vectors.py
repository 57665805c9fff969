"""Vectors of items: those that callers bring, admitted to their spaces, and those of pictures, embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from twinset import images
from twinset.contract import ModelContract
from twinset.known_answer import UNKNOWN_CATEGORY
from twinset_server.domain import (
    Float32Array,
    ItemVector,
    NewPicture,
    Picture,
    PictureDraft,
    PictureVectors,
    Prediction,
    Space,
    StoredPicture,
    StoredVectors,
    Vector,
)
from twinset_server.embedding import Outputs, PictureEmbedder, Pictures
from twinset_server.errors import BadPicture, InvalidRequest, SpaceMismatch, TwinsetError
from twinset_server.ports import Catalog
from twinset_server.predictions import classes_of, likeliest
from twinset_server.scoring import admit


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of an item's pictures.

    Attributes:
        taken: spaces that get no vectors of pictures, since the caller brings one.
        category: what the caller says that the item is, empty where they don't; for models that take it.
        predicted: whether the main picture is to tell the item's category.
        stored: vectors that are stored of the item's pictures.
    """

    taken: Collection[str] = ()
    category: str = ""
    predicted: bool = False
    stored: StoredVectors | None = None


@dataclass(frozen=True, slots=True)
class FromPictures:
    """What was made of an item's pictures; `prediction` is None where none was wanted, or there is no picture."""

    vectors: Sequence[ItemVector]
    prediction: Prediction | None = None


class ItemVectors:
    """Knows what fills which space, and what fills a missing category."""

    def __init__(self, catalog: Catalog, pictures: Pictures, fill_category: str | None = None) -> None:
        """Have pictures embedded; `fill_category` is the output that tells the category of items that lack one."""
        self._catalog = catalog
        self._pictures = pictures
        self._fill_category = fill_category

    @property
    def fills_categories(self) -> bool:
        """Whether missing categories are predicted."""
        return self._fill_category is not None

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
        filled = self._filled(taken)
        return dict(filled.fingerprints)

    def classifier(self) -> str:
        """Return the fingerprint of what predicts missing categories, empty where nothing does.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
        """
        contract = self._contract
        return "" if self._fill_category is None else contract.fingerprint_of(self._fill_category)

    def by_category(self, taken: Collection[str] = ()) -> dict[str, str]:
        """Return the outputs that depend on an item's category, each with the space that it fills.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
            SpaceMismatch: a space holds vectors of another model.
        """
        if not self._contract.categories:
            return {}
        filled = self._filled(taken)
        return {output: space for output, space in filled.spaces.items() if filled.contract.takes_category([output])}

    def index(self, category: str) -> int:
        """Return the number of a category for the model; 0 where it doesn't know it."""
        return _index(self._contract, category)

    def is_unknown(self, category: str) -> bool:
        """Return whether the model takes categories, and doesn't know this one.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
        """
        contract = self._contract
        return bool(contract.categories) and contract.category_index(category) is None

    @property
    def _contract(self) -> ModelContract:
        return self._pictures.now.embedder.contract

    async def stored(self, pictures: Mapping[str, Sequence[NewPicture]]) -> Mapping[str, StoredVectors]:
        """Return by item what is stored of vectors of the same pictures.

        Args:
            pictures: by item those that it is to have; an item without any is passed over.
        Raises:
            StoreUnavailable: the store can't be read.
        """
        wanted = {item_id: {new.picture.sha256 for new in news} for item_id, news in pictures.items() if news}
        return await self._catalog.picture_vectors(wanted) if wanted else {}

    async def make(self, pictures: Sequence[NewPicture], wanted: Wanted, timeout_s: float) -> FromPictures:
        """Return a vector per picture for each of the model's spaces that isn't taken, and the category's prediction.

        Pictures whose vectors are stored are not embedded again, but for the main one where it is to tell the category.

        Raises:
            TwinsetError: why one of the pictures could not be embedded.
            NoClasses: the model predicts no categories.
        """
        filled = self._filled(wanted.taken)
        classifier = self._fill_category if wanted.predicted and pictures else None
        classes = () if classifier is None else classes_of(filled.contract, classifier)
        outputs = tuple(dict.fromkeys((*filled.spaces, *([] if classifier is None else [classifier]))))
        if not outputs:
            return FromPictures(())
        known = _reusable(wanted, filled)
        complete = [known.get(new.picture.sha256, {}).keys() >= set(filled.spaces.values()) for new in pictures]
        fresh = [place for place, done in enumerate(complete) if not done or (place == 0 and classifier is not None)]
        contents = [pictures[place].content for place in fresh]
        results = await _embedded(filled, contents, outputs, wanted.category, timeout_s)
        made = {place: _rows(result, f"pictures[{place}]") for place, result in zip(fresh, results, strict=True)}
        vectors: list[ItemVector] = []
        for place, new in enumerate(pictures):
            stored = known.get(new.picture.sha256, {})
            vectors += [
                filled.vector(space, new.picture.id, stored[space] if complete[place] else made[place][output])
                for output, space in filled.spaces.items()
            ]
        prediction = None if classifier is None else likeliest(made[0][classifier], classes, 1)[0]
        return FromPictures(vectors, prediction)

    async def make_for_category(
        self, pictures: Sequence[StoredPicture], outputs: Mapping[str, str], category: str, timeout_s: float
    ) -> list[ItemVector]:
        """Return the vectors of stored pictures for another category.

        Args:
            pictures: those of the item.
            outputs: what depends on the category, each with its space.
            category: the new one.
            timeout_s: time left of the caller's deadline.
        Raises:
            TwinsetError: why one of the pictures could not be embedded.
        """
        filled = self._filled(())
        contents = [picture.content for picture in pictures]
        results = await _embedded(filled, contents, tuple(outputs), category, timeout_s)
        rows = [_rows(result, f"pictures[{place}]") for place, result in enumerate(results)]
        return [
            filled.vector(space, kept.picture.id, row[output])
            for kept, row in zip(pictures, rows, strict=True)
            for output, space in outputs.items()
        ]

    def _filled(self, taken: Collection[str]) -> _Filled:
        """Return what pictures are embedded into by the model that serves now, without the spaces `taken`."""
        # One look at the catalogue: between two, another model may come to serve.
        spaces = self._catalog.spaces()
        pictures = self._pictures.of(spaces)
        contract = pictures.embedder.contract
        filled = {one.output: one.name for one in contract.spaces if one.name not in taken}
        for output, name in filled.items():
            _check_same_model(spaces.get(name), contract.fingerprint_of(output), name)
        return _Filled(pictures, contract, filled)


@dataclass(frozen=True, slots=True)
class _Filled:
    """The outputs of a model that pictures are embedded into, each with its space's name, and what embeds them."""

    pictures: PictureEmbedder
    contract: ModelContract
    spaces: Mapping[str, str]

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Those of the spaces, by name."""
        return {space: self.contract.fingerprint_of(output) for output, space in self.spaces.items()}

    def vector(self, space: str, picture_id: str, values: Float32Array) -> ItemVector:
        """Return a vector that the model made of a picture."""
        filled = self.contract.space(space)
        fingerprint = self.contract.fingerprint_of(filled.output) if filled else ""
        return ItemVector(space, picture_id, values, fingerprint)


async def _embedded(
    filled: _Filled, contents: Sequence[bytes], outputs: Sequence[str], category: str, timeout_s: float
) -> Sequence[Outputs | TwinsetError]:
    if not contents:
        return []
    categories = [_index(filled.contract, category)] * len(contents)
    return await filled.pictures.embed(contents, outputs, timeout_s=timeout_s, urgent=False, categories=categories)


def _reusable(wanted: Wanted, filled: _Filled) -> PictureVectors:
    """Return of the stored vectors those that the pictures would be embedded into again."""
    stored, contract = wanted.stored, filled.contract
    if stored is None:
        return {}
    same_category = _index(contract, stored.category) == _index(contract, wanted.category)
    kept = {
        space
        for output, space in filled.spaces.items()
        # Another model may have come to serve since they were read.
        if stored.fingerprints.get(space) == contract.fingerprint_of(output)
        and (same_category or not contract.takes_category([output]))
    }
    return {
        sha256: {space: values for space, values in vectors.items() if space in kept}
        for sha256, vectors in stored.pictures.items()
    }


def _index(contract: ModelContract, category: str) -> int:
    return contract.category_index(category) or UNKNOWN_CATEGORY


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
    return ItemVector(space.name, "", admit(vector, space, field), space.fingerprint)


def _rows(result: Outputs | TwinsetError, field: str) -> Outputs:
    if isinstance(result, InvalidRequest):
        raise result.within(field)
    if isinstance(result, TwinsetError):
        raise result
    return result


def _check_same_model(space: Space | None, fingerprint: str, name: str) -> None:
    if space is None or space.fingerprint != fingerprint:
        held = f"vectors of {space.fingerprint}" if space else "no vectors of any model"
        raise SpaceMismatch(
            f"spaces[{name!r}]",
            f"the serving model's fingerprint of {name!r} is {fingerprint}, but the space holds {held}",
        )
