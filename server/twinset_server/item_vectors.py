"""Vectors of items: those that callers bring, admitted to their spaces, and those of pictures, embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from twinset import images
from twinset.known_answer import UNKNOWN_CATEGORY
from twinset_server.domain import (
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
from twinset_server.embedding import Outputs, PictureEmbedder
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

    def __init__(self, catalog: Catalog, pictures: PictureEmbedder, fill_category: str | None = None) -> None:
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
        contract = self._pictures.embedder.contract
        return {space: contract.fingerprint_of(output) for output, space in self._filled(taken).items()}

    def classifier(self) -> str:
        """Return the fingerprint of what predicts missing categories, empty where nothing does.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
        """
        contract = self._pictures.embedder.contract
        return "" if self._fill_category is None else contract.fingerprint_of(self._fill_category)

    def by_category(self, taken: Collection[str] = ()) -> dict[str, str]:
        """Return the outputs that depend on an item's category, each with the space that it fills.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
            SpaceMismatch: a space holds vectors of another model.
        """
        contract = self._pictures.embedder.contract
        if not contract.categories:
            return {}
        return {output: space for output, space in self._filled(taken).items() if contract.takes_category([output])}

    def index(self, category: str) -> int:
        """Return the number of a category for the model; 0 where it doesn't know it."""
        return self._pictures.embedder.contract.category_index(category) or UNKNOWN_CATEGORY

    def is_unknown(self, category: str) -> bool:
        """Return whether the model takes categories, and doesn't know this one.

        Raises:
            EmbedderUnavailable: the model isn't known yet.
        """
        contract = self._pictures.embedder.contract
        return bool(contract.categories) and contract.category_index(category) is None

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
        classes = () if classifier is None else classes_of(self._pictures.embedder.contract, classifier)
        outputs = tuple(dict.fromkeys((*filled, *([] if classifier is None else [classifier]))))
        if not outputs:
            return FromPictures(())
        known = self._reusable(wanted, filled)
        complete = [known.get(new.picture.sha256, {}).keys() >= set(filled.values()) for new in pictures]
        fresh = [place for place, done in enumerate(complete) if not done or (place == 0 and classifier is not None)]
        contents = [pictures[place].content for place in fresh]
        results = await self._embedded(contents, outputs, wanted.category, timeout_s)
        made = {place: _rows(result, f"pictures[{place}]") for place, result in zip(fresh, results, strict=True)}
        vectors: list[ItemVector] = []
        for place, new in enumerate(pictures):
            stored = known.get(new.picture.sha256, {})
            vectors += [
                ItemVector(space, new.picture.id, stored[space] if complete[place] else made[place][output])
                for output, space in filled.items()
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
        contents = [picture.content for picture in pictures]
        results = await self._embedded(contents, tuple(outputs), category, timeout_s)
        rows = [_rows(result, f"pictures[{place}]") for place, result in enumerate(results)]
        return [
            ItemVector(space, kept.picture.id, row[output])
            for kept, row in zip(pictures, rows, strict=True)
            for output, space in outputs.items()
        ]

    def _reusable(self, wanted: Wanted, filled: Mapping[str, str]) -> PictureVectors:
        """Return of the stored vectors those that the pictures would be embedded into again."""
        if wanted.stored is None:
            return {}
        if self.index(wanted.stored.category) == self.index(wanted.category):
            return wanted.stored.pictures
        contract = self._pictures.embedder.contract
        kept = {space for output, space in filled.items() if not contract.takes_category([output])}
        return {
            sha256: {space: values for space, values in vectors.items() if space in kept}
            for sha256, vectors in wanted.stored.pictures.items()
        }

    async def _embedded(
        self, contents: Sequence[bytes], outputs: Sequence[str], category: str, timeout_s: float
    ) -> Sequence[Outputs | TwinsetError]:
        if not contents:
            return []
        categories = [self.index(category)] * len(contents)
        return await self._pictures.embed(contents, outputs, timeout_s=timeout_s, urgent=False, categories=categories)

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
