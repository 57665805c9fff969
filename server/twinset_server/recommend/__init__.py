"""Recommendations by items, pictures, vectors and users: `Recommender` answers a `Request`."""

from twinset_server.recommend.recommender import Recommender
from twinset_server.recommend.request import (
    PLAIN,
    Contribution,
    Detail,
    Example,
    ExampleNote,
    Grouping,
    ItemExample,
    Note,
    PictureExample,
    Recommendations,
    Refinement,
    Relation,
    Request,
    SpaceSearch,
    Subject,
    UserExample,
    VectorExample,
)

__all__ = [
    "PLAIN",
    "Contribution",
    "Detail",
    "Example",
    "ExampleNote",
    "Grouping",
    "ItemExample",
    "Note",
    "PictureExample",
    "Recommendations",
    "Recommender",
    "Refinement",
    "Relation",
    "Request",
    "SpaceSearch",
    "Subject",
    "UserExample",
    "VectorExample",
]
