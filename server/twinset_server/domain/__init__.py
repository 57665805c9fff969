"""The words of the service as values: spaces, items, pictures, vectors, neighbours.

Nothing here does input or output, and nothing here knows gRPC, Triton, SQLite or USearch.
"""

from twinset.contract import Metric
from twinset_server.domain.changes import Change, FeedSummary, Prepared, Receipt, Refused, Written
from twinset_server.domain.facets import Facet, FacetRequest
from twinset_server.domain.items import (
    Item,
    ItemDeletion,
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    MadeFor,
    WritableItem,
)
from twinset_server.domain.pictures import (
    ItemVector,
    NewPicture,
    Picture,
    PictureDraft,
    PictureVectors,
    Prediction,
    StoredPicture,
    StoredVectors,
)
from twinset_server.domain.spaces import (
    DEFAULT_TARGET_RECALL,
    SCAN,
    VISUAL,
    CatalogStatus,
    Neighbour,
    Search,
    SearchMethod,
    SearchPlan,
    SearchResult,
    Space,
    SpaceStatus,
    Vector,
)
from twinset_server.domain.users import Interaction, StoredInteraction, User, UserDraft, WritableUser, interaction_id
from twinset_server.domain.values import (
    MAX_ATTRIBUTES,
    MAX_ATTRIBUTES_BYTES,
    Attribute,
    Float32Array,
    Int32Array,
    UInt8Array,
    attribute_bytes,
)

__all__ = [
    "DEFAULT_TARGET_RECALL",
    "MAX_ATTRIBUTES",
    "MAX_ATTRIBUTES_BYTES",
    "SCAN",
    "VISUAL",
    "Attribute",
    "CatalogStatus",
    "Change",
    "Facet",
    "FacetRequest",
    "FeedSummary",
    "Float32Array",
    "Int32Array",
    "Interaction",
    "Item",
    "ItemDeletion",
    "ItemDraft",
    "ItemUpdate",
    "ItemUpdateDraft",
    "ItemVector",
    "MadeFor",
    "Metric",
    "Neighbour",
    "NewPicture",
    "Picture",
    "PictureDraft",
    "PictureVectors",
    "Prediction",
    "Prepared",
    "Receipt",
    "Refused",
    "Search",
    "SearchMethod",
    "SearchPlan",
    "SearchResult",
    "Space",
    "SpaceStatus",
    "StoredInteraction",
    "StoredPicture",
    "StoredVectors",
    "UInt8Array",
    "User",
    "UserDraft",
    "Vector",
    "WritableItem",
    "WritableUser",
    "Written",
    "attribute_bytes",
    "interaction_id",
]
