"""The backbones by name. A new one is a module with its `BACKBONE` and a line here."""

from __future__ import annotations

from twinset_exporter.backbones import efficientnet_lite0, resnet50
from twinset_exporter.backbones.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone for backbone in (efficientnet_lite0.BACKBONE, resnet50.BACKBONE)
}
