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
from twinset.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    TwinsetError,
    Unavailable,
)
from twinset.items import (
    Attribute,
    Catalog,
    Embedding,
    Item,
    Picture,
    PutResult,
    Recommendation,
    Recommendations,
    Space,
    Vector,
    View,
)

__version__ = version("twinset")

__all__ = [
    "Attribute",
    "Catalog",
    "Client",
    "DeadlineExceeded",
    "Embedding",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Item",
    "Metric",
    "NotFound",
    "Picture",
    "PutResult",
    "Recommendation",
    "Recommendations",
    "ResourceExhausted",
    "Space",
    "TwinsetError",
    "Unavailable",
    "Vector",
    "View",
    "__version__",
]
