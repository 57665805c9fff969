"""What a model's `config.pbtxt` says of the machine that it runs on: the parts that differ between targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as pb

from twinset.head_contract import CATEGORY
from twinset_exporter.targets import PARAMETER, Target

ENGINE_CACHE = "/var/cache/twinset-tensorrt-{model}"
"""Where Triton keeps the engines that TensorRT built, on the machine with the GPU.

A folder of each model's own: TensorRT's provider names an engine by the graph's file name, inputs and nodes, and not
by its weights, so that two models of one network would take each other's. The provider makes the last folder of the
path alone, which is why it is not `twinset/tensorrt/...`.
"""


@dataclass(frozen=True, slots=True)
class _Batching:
    largest: int
    preferred: Sequence[int]
    queue_delay_us: int


_BATCHING = {
    # No delay: requests queue while a batch computes, and that queue is the next batch.
    Target.CPU: _Batching(largest=64, preferred=(8, 16), queue_delay_us=0),
    # A GPU takes 32 in little more time than one, and half a millisecond is a tenth of its time for them.
    Target.GPU: _Batching(largest=128, preferred=(16, 32, 64), queue_delay_us=500),
}


def tune(config: pb.ModelConfig, target: Target) -> None:
    """Fill in what depends on the target: batching, instances, accelerator, warm-up and the largest batch.

    `config` has its name and input already.
    """
    batching = _BATCHING[target]
    config.max_batch_size = batching.largest
    config.dynamic_batching.CopyFrom(
        pb.ModelDynamicBatching(
            preferred_batch_size=batching.preferred,
            # No default_queue_policy: with allow_timeout_override, requests that bring a time-out waited in the queue
            # while the model stood idle (EfficientNet-Lite0 from .93 to .60 of in process).
            max_queue_delay_microseconds=batching.queue_delay_us,
        )
    )
    config.parameters[PARAMETER].string_value = target.value
    if target is Target.CPU:
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
        # All cores work on one batch: onnxruntime's own default, and the key of Triton's native backend.
        config.parameters["intra_op_thread_count"].string_value = "0"
    else:
        # Two: one copies pictures to the GPU while the other computes.
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU, count=2)
        config.optimization.execution_accelerators.gpu_execution_accelerator.add(
            name="tensorrt",
            parameters={
                "precision_mode": "FP16",
                "max_workspace_size_bytes": str(2**30),
                "trt_engine_cache_enable": "true",
                "trt_engine_cache_path": ENGINE_CACHE.format(model=config.name),
            },
        )
    # The first batch of a size allocates, and on a GPU builds an engine; it shouldn't be a user's.
    for size in (1, *batching.preferred):
        _warm_up(config, size)


def tune_head(config: pb.ModelConfig, target: Target) -> None:
    """Fill in the same for a head: a few matrices, whose own time is a small part of the backbone's.

    Batches queue without a delay, since a backbone's batch arrives as one request. One thread is enough, and pools of
    many heads would fight over the cores. On a GPU the features stay there.
    """
    batching = _BATCHING[target]
    config.max_batch_size = batching.largest
    config.dynamic_batching.CopyFrom(pb.ModelDynamicBatching(preferred_batch_size=batching.preferred))
    config.parameters[PARAMETER].string_value = target.value
    if target is Target.CPU:
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)
        config.parameters["intra_op_thread_count"].string_value = "1"
    else:
        config.instance_group.add(kind=pb.ModelInstanceGroup.KIND_GPU, count=1)
    for size in (1, *batching.preferred):
        _warm_up(config, size)


def tune_interaction(config: pb.ModelConfig, target: Target) -> None:
    """Fill in the same for an interaction model, whose largest batch is its contract's: a request is one user's."""
    config.dynamic_batching.CopyFrom(pb.ModelDynamicBatching())
    config.parameters[PARAMETER].string_value = target.value
    kind = pb.ModelInstanceGroup.KIND_CPU if target is Target.CPU else pb.ModelInstanceGroup.KIND_GPU
    config.instance_group.add(kind=kind, count=1)
    if target is Target.CPU:
        config.parameters["intra_op_thread_count"].string_value = "1"
    noise = {
        given.name: pb.ModelWarmup.Input(data_type=given.data_type, dims=given.dims, random_data=True)
        for given in config.input
    }
    for size in (1, config.max_batch_size):
        config.model_warmup.add(name=f"noise_{size}", batch_size=size, inputs=noise)


def tune_ensemble(config: pb.ModelConfig, target: Target) -> None:
    """Fill in the same for an ensemble: it only passes tensors on, and its components batch and warm up themselves."""
    config.max_batch_size = _BATCHING[target].largest
    config.parameters[PARAMETER].string_value = target.value


def _warm_up(config: pb.ModelConfig, size: int) -> None:
    inputs = {}
    for given in config.input:
        # A category at random would be outside of the table that it looks into; zero is the unknown one.
        data = {"zero_data": True} if given.name == CATEGORY else {"random_data": True}
        inputs[given.name] = pb.ModelWarmup.Input(data_type=given.data_type, dims=given.dims, **data)
    config.model_warmup.add(name=f"noise_{size}", batch_size=size, inputs=inputs)
