"""The backbones by name. A new one is a module with its `BACKBONE` and a line here, or a line in `applications`."""

from __future__ import annotations

from twinset_exporter.backbones import applications, efficientnet_lite0
from twinset_exporter.backbones.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone for backbone in (efficientnet_lite0.BACKBONE, *applications.BACKBONES)
}
