"""What can go wrong, as reasons and fields; `rpc/status.py` alone knows gRPC codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class TwinsetError(Exception):
    """An error that a caller is told about. `reason` is stable: callers branch on it."""

    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(TwinsetError):
    """A field is missing, malformed or over its limit. `field` is its path, such as `items[3].pictures[0].content`."""

    reason = "INVALID_REQUEST"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.description = message

    def within(self, prefix: str) -> InvalidRequest:
        """Return the same error with its field below `prefix`."""
        return self.at(f"{prefix}.{self.field}")

    def at(self, field: str) -> InvalidRequest:
        """Return the same error of another field."""
        return type(self)(field, self.description)


class BadPicture(InvalidRequest):
    """The picture is of an unknown format, damaged or too large."""

    reason = "BAD_PICTURE"


class BadVector(InvalidRequest):
    """The vector has the wrong dimension, a component that isn't finite, or no length in a cosine space."""

    reason = "BAD_VECTOR"


class BadPageToken(InvalidRequest):
    """The page token is damaged, or was given for other arguments."""

    reason = "BAD_PAGE_TOKEN"


class NotFound(TwinsetError):
    """Something named by the caller isn't there."""

    reason = "NOT_FOUND"
    kind: ClassVar[str] = "resource"

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message or f"no {self.kind} {name!r}")
        self.name = name


class ItemNotFound(NotFound):
    """No item has this id."""

    reason = "ITEM_NOT_FOUND"
    kind = "item"


class PictureNotFound(NotFound):
    """The item has no picture of this id."""

    reason = "PICTURE_NOT_FOUND"
    kind = "picture"


class SpaceNotFound(NotFound):
    """The catalogue has no space of this name."""

    reason = "SPACE_NOT_FOUND"
    kind = "space"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Name the spaces that there are."""
        super().__init__(name, f"no space {name!r}: the catalogue has {', '.join(sorted(known)) or 'none'}")


class FailedPrecondition(TwinsetError):
    """The request is well formed, but the state of the catalogue forbids it. `subject` names what stands against it."""

    reason = "FAILED_PRECONDITION"

    def __init__(self, subject: str, message: str) -> None:
        super().__init__(message)
        self.subject = subject


class FingerprintMismatch(FailedPrecondition):
    """A vector was made by another model than the one that fills the space."""

    reason = "FINGERPRINT_MISMATCH"

    def __init__(self, field: str, *, given: str, expected: str, space: str) -> None:
        super().__init__(
            field,
            f"{field}: the vector's fingerprint is {given}, but the space {space!r} holds vectors of {expected}: "
            "embed again with the model that GetCatalog names",
        )
        self.given = given
        self.expected = expected


class SpaceMismatch(FailedPrecondition):
    """A vector lives in another space than the one at hand."""

    reason = "SPACE_MISMATCH"


class NoVector(FailedPrecondition):
    """The item has no vector in the space."""

    reason = "ITEM_HAS_NO_VECTOR"


class UserHasNoVector(FailedPrecondition):
    """The user has no vector in the space."""

    reason = "USER_HAS_NO_VECTOR"


class NoModel(FailedPrecondition):
    """No model fills the space, so pictures can't be embedded into it."""

    reason = "NO_MODEL"


class NoPairModel(FailedPrecondition):
    """The serving model doesn't give probabilities of pairs."""

    reason = "NO_PAIR_MODEL"


class NoInteractionModel(FailedPrecondition):
    """No model is served that ranks by factors, or not the one named."""

    reason = "NO_INTERACTION_MODEL"


class InteractionMismatch(FailedPrecondition):
    """A model ranks by other factors than those that serve."""

    reason = "INTERACTION_MISMATCH"

    def __init__(self, field: str, *, model: str, given: str, expected: str) -> None:
        super().__init__(
            field,
            f"{field}: the model {model!r} ranks by factors of {given}, but those that serve are of {expected}: "
            "publish one that was trained on these, and let Triton load it",
        )
        self.given = given
        self.expected = expected


class NoClasses(FailedPrecondition):
    """The model doesn't predict the classes that it is asked for."""

    reason = "NO_CLASSES"


class PictureNotStored(FailedPrecondition):
    """The server keeps no content of this picture."""

    reason = "PICTURE_NOT_STORED"


class FeedHasFailures(FailedPrecondition):
    """Items of the feed failed, so that its commit would keep what it was to replace."""

    reason = "FEED_HAS_FAILURES"


class FeedIsEmpty(FailedPrecondition):
    """The feed holds no items, so that its commit would delete all."""

    reason = "FEED_IS_EMPTY"


class FactorsConflict(FailedPrecondition):
    """Something else fills the space that factors are to be imported into."""

    reason = "FACTORS_CONFLICT"

    def __init__(self, space: str, *, given: str, stored: str, filled_by: str) -> None:
        """Name both fingerprints, and what the space is filled by."""
        super().__init__(
            space,
            f"the factors are of {given}, but the space {space!r} holds vectors of {stored} from {filled_by}: import "
            "into a catalogue whose space of this name is free",
        )
        self.given = given
        self.stored = stored


class ImportedSpace(FailedPrecondition):
    """The space holds imported factors, and takes no single vectors."""

    reason = "SPACE_IS_IMPORTED"


class ImportUnderWay(FailedPrecondition):
    """Another import of factors hasn't ended."""

    reason = "IMPORT_UNDER_WAY"


class ModelNotFound(NotFound):
    """The repository holds no model of this name or fingerprint."""

    reason = "MODEL_NOT_FOUND"
    kind = "model"


class ModelUnfit(FailedPrecondition):
    """The model can't serve this catalogue: it was changed, fails its proof, or lacks what the settings ask for."""

    reason = "MODEL_UNFIT"


class ModelNotFilled(FailedPrecondition):
    """The catalogue lacks the model's vectors: `Reembed` makes them. `subject` is the model."""

    reason = "MODEL_NOT_FILLED"


class NoFormerModel(FailedPrecondition):
    """No model that served before is kept, so none can come back."""

    reason = "NO_FORMER_MODEL"


class VectorsLost(FailedPrecondition):
    """A switch would leave items or users without vectors, since these were put and not made from pictures.

    Attributes:
        item_ids: of such items, the first of them.
        items: how many there are.
        users: how many users lose theirs.
    """

    reason = "VECTORS_LOST"

    def __init__(self, model: str, item_ids: Sequence[str], items: int, users: int) -> None:
        named = ", ".join(map(repr, item_ids)) + (", and more" if items > len(item_ids) else "")
        those = [f"{items} items ({named})"] if items else []
        those += [f"{users} users"] if users else []
        super().__init__(
            model,
            f"{' and '.join(those)} have vectors that can't be made anew for {model}, since no picture of theirs "
            "is kept: put the items again with pictures, delete them, or set drop (--drop) to switch without those",
        )
        self.item_ids = item_ids
        self.items = items
        self.users = users


class GenerationNotFound(NotFound):
    """No kept generation of factors has this number."""

    reason = "GENERATION_NOT_FOUND"
    kind = "factor_generation"

    def __init__(self, name: str, known: Iterable[int]) -> None:
        """Name those that there are; an empty `name` means the one before."""
        wanted = f"generation {name} of factors" if name else "generation of factors to go back to"
        kept = ", ".join(map(str, known)) or "none"
        super().__init__(name or "former", f"there is no {wanted}: kept are {kept}")


class UserNotFound(NotFound):
    """No user has this id."""

    reason = "USER_NOT_FOUND"
    kind = "user"


class RequestIdReused(InvalidRequest):
    """The request id was used for another request within the last 24 hours."""

    reason = "REQUEST_ID_REUSED"


class Aborted(TwinsetError):
    """Somebody else was quicker: read again, then decide again."""

    reason = "ABORTED"


class StaleEtag(Aborted):
    """The stored thing has another etag than the one given."""

    reason = "STALE_ETAG"

    def __init__(self, kind: str, name: str, *, given: str, stored: str) -> None:
        found = f"has etag {stored!r}" if stored else "is not there"
        super().__init__(
            f"{kind} {name!r} {found}, the change was made for {given!r}: read it again, then change it again"
        )
        self.given = given
        self.stored = stored


class ItemChanged(Aborted):
    """The item was given another category or other pictures while vectors were made for those that it had."""

    reason = "ITEM_CHANGED"


class ModelSwitched(Aborted):
    """Another model was let serve while the change's vectors were made by the one before."""

    reason = "MODEL_SWITCHED"

    def __init__(self, space: str, *, given: str, expected: str) -> None:
        super().__init__(
            f"the vectors for {space!r} were made by {given}, and the space was switched to {expected or 'none'} "
            "meanwhile: send the change again"
        )
        self.given = given
        self.expected = expected


class Exhausted(TwinsetError):
    """Something bounded is full; the caller may come back after `retry_after_s` seconds."""

    reason = "EXHAUSTED"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DiskFull(Exhausted):
    """The disk that holds the catalogue is full."""

    reason = "DISK_FULL"


class IndexBehind(Exhausted):
    """So many vectors stand outside the index that no more are taken until the builder has caught up."""

    reason = "INDEX_BEHIND"


class Overloaded(Exhausted):
    """So many calls of this class are under way that no more are taken on."""

    reason = "OVERLOADED"


class TooManyPictures(Overloaded):
    """The pictures that wait to be embedded, over all calls, are as many or as large as they may be."""

    reason = "TOO_MANY_PICTURES"


class TooManyCalls(Exhausted):
    """The token's calls come faster than it may make them."""

    reason = "TOO_MANY_CALLS"


class Unauthenticated(TwinsetError):
    """The call shows no token, or one that isn't known."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(TwinsetError):
    """The token is known, and may not do this."""

    reason = "PERMISSION_DENIED"


class Unavailable(TwinsetError):
    """Something the call needs can't be reached; the caller may come back after `retry_after_s` seconds."""

    reason = "UNAVAILABLE"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EmbedderUnavailable(Unavailable):
    """Triton is unreachable or restarting, or its model doesn't give its known answer."""

    reason = "EMBEDDER_UNAVAILABLE"


class ServerStopping(Unavailable):
    """The server drains: it has answered what it had read of a stream, and reads no more."""

    reason = "SERVER_STOPPING"


class StreamSilent(Unavailable):
    """Nothing went over the stream for so long that its place was given to others."""

    reason = "STREAM_SILENT"


class StoreUnavailable(Unavailable):
    """The catalogue's store is closed or doesn't answer."""

    reason = "STORE_UNAVAILABLE"


class DeadlineExceeded(TwinsetError):
    """No time is left for the call."""

    reason = "DEADLINE_EXCEEDED"


class OperationNotFound(NotFound):
    """No operation has this name, or it ended long ago."""

    reason = "OPERATION_NOT_FOUND"
    kind = "operation"


class OperationRunning(FailedPrecondition):
    """Another operation runs that excludes this one."""

    reason = "OPERATION_RUNNING"


class BackupUnsound(FailedPrecondition):
    """What is to be restored is no backup, one of another version, or damaged."""

    reason = "BACKUP_UNSOUND"


class BackupOfAnother(FailedPrecondition):
    """The backup's vectors are of other models than those that the server was started with."""

    reason = "BACKUP_OF_ANOTHER"


class BackupRefused(FailedPrecondition):
    """A backup can't be written where it was wanted."""

    reason = "BACKUP_REFUSED"


class Cancelled(TwinsetError):
    """The caller wants the result no more."""

    reason = "CANCELLED"


class OperationCancelled(Cancelled):
    """The operation was cancelled, and left nothing behind."""

    reason = "OPERATION_CANCELLED"


class StartupError(Exception):
    """The server can't start; the message says what to do. Never reaches a caller."""


class SpaceConflict(StartupError):
    """The catalogue holds a space of another fingerprint, dimension or metric than what is to fill it."""
