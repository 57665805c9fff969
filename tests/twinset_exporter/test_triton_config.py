from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset.contract import ModelContract
from twinset_exporter import triton_config
from twinset_exporter.export import Result
from twinset_exporter.repository import CONFIG
from twinset_exporter.targets import Target


@pytest.fixture(scope="module")
def config(lite0: Result) -> pb.ModelConfig:
    return text_format.Parse((lite0.path / CONFIG).read_text(), pb.ModelConfig())


def test_it_says_all_that_triton_would_otherwise_guess(lite0: Result, config: pb.ModelConfig) -> None:
    assert config.name == lite0.path.name
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("onnxruntime", "model.onnx", 64)
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("pictures", pb.TYPE_UINT8, [224, 224, 3]),
    ]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [
        ("features", pb.TYPE_FP32, [1280]),
        ("embedding", pb.TYPE_FP32, [1280]),
    ]
    (group,) = config.instance_group
    assert (group.kind, group.count) == (pb.ModelInstanceGroup.KIND_CPU, 1)


def test_requests_are_batched_without_waiting(config: pb.ModelConfig) -> None:
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


def test_it_warms_up_with_a_picture(config: pb.ModelConfig) -> None:
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 8, 16]
    assert all(list(warmup.inputs["pictures"].dims) == [224, 224, 3] for warmup in config.model_warmup)


def test_its_parameters_are_the_contract(lite0: Result, config: pb.ModelConfig) -> None:
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters["intra_op_thread_count"] == "0"
    assert ModelContract.from_parameters(parameters).to_parameters() == lite0.contract.to_parameters()


def test_the_queue_has_no_policy_that_makes_requests_with_a_time_out_wait(config: pb.ModelConfig) -> None:
    assert not config.dynamic_batching.HasField("default_queue_policy")


def test_the_graph_s_optimisation_is_left_to_the_runtime(config: pb.ModelConfig) -> None:
    assert not config.HasField("optimization")


@pytest.fixture(scope="module")
def gpu(lite0: Result) -> pb.ModelConfig:
    text = triton_config.render(lite0.contract, {"features": 1280, "embedding": 1280}, {}, Target.GPU)
    return text_format.Parse(text, pb.ModelConfig())


def test_a_gpu_runs_tensorrt_at_16_bits_with_an_engine_cache_of_the_model_s_own(
    lite0: Result, gpu: pb.ModelConfig
) -> None:
    (accelerator,) = gpu.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert accelerator.parameters["trt_engine_cache_enable"] == "true"
    assert accelerator.parameters["trt_engine_cache_path"].endswith(lite0.contract.model)
    assert not gpu.optimization.HasField("graph")


def test_a_gpu_takes_larger_batches_in_two_instances_and_warms_up_each_size(gpu: pb.ModelConfig) -> None:
    (group,) = gpu.instance_group
    assert (group.kind, group.count) == (pb.ModelInstanceGroup.KIND_GPU, 2)
    assert gpu.max_batch_size == 128
    preferred = list(gpu.dynamic_batching.preferred_batch_size)
    assert [warmup.batch_size for warmup in gpu.model_warmup] == [1, *preferred]
    assert max(preferred) <= gpu.max_batch_size


def test_both_targets_promise_the_same(gpu: pb.ModelConfig, config: pb.ModelConfig) -> None:
    of_gpu, of_cpu = (
        {key: value.string_value for key, value in one.parameters.items() if key.startswith("twinset.")}
        for one in (gpu, config)
    )
    assert (of_gpu.pop("twinset.target"), of_cpu.pop("twinset.target")) == ("gpu", "cpu")
    of_cpu.pop("twinset.recipe")
    assert of_gpu == of_cpu
