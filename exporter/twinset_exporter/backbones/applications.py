"""Networks of keras.applications, cut before their classifiers. Each is a line of the table at the end.

Left out are EfficientNet's B0 to B7: Keras gives them one more layer with its ImageNet weights than without, so that
weights from a file would compute something else than what was trained; and ConvNeXt, whose GELU and convolutions by
group the converter doesn't know.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from twinset_exporter import preprocessing
from twinset_exporter.backbones.backbone import Backbone

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Application:
    """A network as Keras knows it.

    Attributes:
        constructor: its function in `keras.applications`.
        module: the module of `keras.applications` that has its `preprocess_input`.
        pooling: how its last feature map becomes features: the average over the picture, or all of it in a row.
    """

    constructor: str
    module: str
    pooling: Literal["avg", "flatten"]

    def untrained(self, height: int, width: int) -> keras.Model:
        """Return the network with untrained weights, `[N, height, width, 3]` float32 to `[N, D]`."""
        return self._network(height, width, None)

    def trained(self, height: int, width: int) -> keras.Model:
        """Return the network with Keras's own ImageNet weights, from its cache or downloaded into it."""
        with warnings.catch_warnings():
            # MobileNet warns that other sizes than its own take the weights of 224 pixels, which is what is asked.
            warnings.simplefilter("ignore", UserWarning)
            return self._network(height, width, "imagenet")

    def preprocess(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what Keras itself feeds the network; the parity gate compares the graph with it."""
        module = importlib.import_module(f"keras.applications.{self.module}")
        prepared: NDArray[np.float32] = module.preprocess_input(pictures.astype(np.float32))
        return prepared

    def _network(self, height: int, width: int, weights: str | None) -> keras.Model:
        import keras

        network = getattr(keras.applications, self.constructor)(
            include_top=False,
            weights=weights,
            pooling="avg" if self.pooling == "avg" else None,
            input_shape=(height, width, 3),
        )
        if self.pooling == "avg":
            return network
        return keras.Model(network.inputs, keras.layers.Flatten(name="features")(network.output), name=network.name)


def _backbone(
    name: str,
    constructor: str,
    module: str,
    mode: Literal["caffe", "tf", "torch", "none"],
    *,
    features: int,
    summary: str,
    pooling: Literal["avg", "flatten"] = "avg",
    size: int = 224,
    smallest_size: int = 32,
) -> Backbone:
    application = Application(constructor, module, pooling)
    return Backbone(
        name=name,
        summary=f"{summary}, {features:,} features from {size}x{size} pixels",
        network=application.untrained,
        size=size,
        smallest_size=smallest_size,
        features=features,
        preprocessing=preprocessing.NAMED[mode],
        preprocess=application.preprocess,
        imagenet=application.trained,
    )


_FLAT: Literal["flatten"] = "flatten"

BACKBONES = (
    _backbone("resnet50", "ResNet50", "resnet50", "caffe", features=2048, summary="larger and slower"),
    _backbone("vgg16", "VGG16", "vgg16", "caffe", pooling=_FLAT, features=25_088, summary="every place apart, slow"),
    _backbone("vgg16_pooled", "VGG16", "vgg16", "caffe", features=512, summary="the same, averaged over the picture"),
    _backbone(
        "inception_v3",
        "InceptionV3",
        "inception_v3",
        "tf",
        features=2048,
        size=299,
        smallest_size=75,
        summary="sees more detail",
    ),
    _backbone("resnet101", "ResNet101", "resnet", "caffe", features=2048, summary="twice resnet50"),
    _backbone("resnet50_v2", "ResNet50V2", "resnet_v2", "tf", features=2048, summary="resnet50's successor"),
    _backbone("mobilenet_v2", "MobileNetV2", "mobilenet_v2", "tf", features=1280, summary="small and quick"),
    _backbone(
        "mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3", "none", features=960, summary="small and quick"
    ),
    _backbone("densenet121", "DenseNet121", "densenet", "torch", features=1024, summary="few weights, much memory"),
    _backbone(
        "xception", "Xception", "xception", "tf", features=2048, size=299, smallest_size=71, summary="sees more detail"
    ),
)
