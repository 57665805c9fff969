"""In which order should this user see things."""

from twinset_server.ranking.ranker import Ranker
from twinset_server.ranking.request import Basis, RankedItem, Ranking, RankRequest, Rung

__all__ = ["Basis", "RankRequest", "RankedItem", "Ranker", "Ranking", "Rung"]
