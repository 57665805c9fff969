"""In which order should this user see things."""

from twinset_server.ranking.ranker import Ranker
from twinset_server.ranking.request import Basis, RankedItem, Ranking, RankRequest, Rerank, Rung
from twinset_server.ranking.reranking import NO_INTERACTIONS

__all__ = ["NO_INTERACTIONS", "Basis", "RankRequest", "RankedItem", "Ranker", "Ranking", "Rerank", "Rung"]
