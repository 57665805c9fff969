"""twinset: pictures in, recommendations out.

```python
from twinset import Client

with Client("localhost:50051") as client:
    for found in client.recommend(item="shoes/1", k=5):
        print(found.item.id, found.score)
```
"""

from importlib.metadata import version

from twinset.client import Client
from twinset.contract import Metric
from twinset.embeddings import Embedding, Prediction
from twinset.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TwinsetError,
    Unauthenticated,
    Unavailable,
)
from twinset.items import (
    Attribute,
    Catalog,
    FeedResult,
    FeedSummary,
    Interaction,
    Item,
    ItemUpdate,
    MeasuredRecall,
    Model,
    Picture,
    PutResult,
    Space,
    User,
    UserData,
    Vector,
    View,
)
from twinset.pair_contract import PairContract
from twinset.pairs import (
    CompletedSet,
    FilledSlot,
    PairScore,
    PairScoring,
    ScoredPair,
    ScoredPairs,
    Side,
    Slot,
    SlotItem,
)
from twinset.ranking import Act, RankedItem, Ranking, Rerank
from twinset.recommendations import (
    Contribution,
    Example,
    ExampleExplanation,
    Explanation,
    Facet,
    Query,
    QueryResult,
    Recommendation,
    Recommendations,
    Relation,
    SearchPlan,
    SpaceSearch,
)
from twinset.tls import Tls

__version__ = version("twinset")

__all__ = [
    "Aborted",
    "Act",
    "Attribute",
    "Catalog",
    "Client",
    "CompletedSet",
    "Contribution",
    "DeadlineExceeded",
    "Embedding",
    "Example",
    "ExampleExplanation",
    "Explanation",
    "Facet",
    "FailedPrecondition",
    "FeedResult",
    "FeedSummary",
    "FilledSlot",
    "Interaction",
    "Internal",
    "InvalidArgument",
    "Item",
    "ItemUpdate",
    "MeasuredRecall",
    "Metric",
    "Model",
    "NotFound",
    "PairContract",
    "PairScore",
    "PairScoring",
    "PermissionDenied",
    "Picture",
    "Prediction",
    "PutResult",
    "Query",
    "QueryResult",
    "RankedItem",
    "Ranking",
    "Recommendation",
    "Recommendations",
    "Relation",
    "Rerank",
    "ResourceExhausted",
    "ScoredPair",
    "ScoredPairs",
    "SearchPlan",
    "Side",
    "Slot",
    "SlotItem",
    "Space",
    "SpaceSearch",
    "Tls",
    "TwinsetError",
    "Unauthenticated",
    "Unavailable",
    "User",
    "UserData",
    "Vector",
    "View",
    "__version__",
]
