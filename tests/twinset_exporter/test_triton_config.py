from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinset.contract import ModelContract
from twinset_exporter.export import Result
from twinset_exporter.repository import CONFIG


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
