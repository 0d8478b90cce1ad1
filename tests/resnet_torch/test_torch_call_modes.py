"""A call that says its own mode; Keras's own training of such networks stands in ``test_torch_owner_steps``."""

from __future__ import annotations

import copy

import pytest
import torch
from handmade_configs import keras_2

from resnet_torch.imported import import_graph, without_chance
from resnet_torch.standalone.forward import steps_of
from weight_transfer import ArchitectureError
from weight_transfer.errors import TransferError
from weight_transfer.graph import Graph, read_graph


def one_layer(class_name, training, **config):
    """A Keras 2 model of one layer, called in a mode."""
    made = keras_2(
        ("in", "InputLayer", []),
        ("layer", class_name, [[["in", 0, 0, {} if training is None else {"training": training}]]]),
        outputs=[("layer", 0, 0)],
    )
    made["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 8, 8, 3]
    made["config"]["layers"][1]["config"].update(config)
    return made


def network(class_name, training, **config):
    return read_graph(one_layer(class_name, training, **config)).checked()


@pytest.mark.parametrize(("training", "acts"), [(None, (True, False)), (True, (True, True)), (False, (False, False))])
def test_dropout_acts_when_its_call_says_so(training, acts):
    x = torch.ones(4, 3, 8, 8)
    made = Graph.from_dict(network("Dropout", training, rate=0.5).to_dict())
    model = copy.deepcopy(import_graph(made))
    assert (bool((model.train()(x) == 0).any()), bool((model.predict(x) == 0).any())) == acts
    assert model.training  # as it was before predict
    assert all(module.training for module in model.modules())
    with without_chance(model.eval()):
        assert torch.equal(model(x), x)
    assert bool((model.predict(x) == 0).any()) == acts[1]


def test_a_frozen_batch_norm_stays_in_inference_mode():
    model = import_graph(network("BatchNormalization", True, axis=-1))
    model.layer.frozen = True
    model.train()(torch.ones(2, 3, 8, 8))
    assert model.layer.running_mean.abs().max() == 0
    model.layer.frozen = False
    model.eval()(torch.ones(2, 3, 8, 8))
    assert model.layer.running_mean.abs().min() > 0


def test_a_layer_without_modes_has_none():
    assert network("ReLU", True).calls[0].training is None


@pytest.mark.parametrize("training", [None, True, False])
def test_augmentation_acts_when_its_call_says_so(training):
    torch.manual_seed(0)
    x = torch.rand(16, 3, 8, 8)
    model = import_graph(network("RandomFlip", training)).eval()
    assert torch.equal(model(x), x) != (training is True)


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(ArchitectureError, match=r"layer 'layer': it is called with training='yes', expected true or"):
        network("Dropout", "yes", rate=0.5)
    values = network("Dropout", True, rate=0.5).to_dict()
    values["calls"][0][3] = "yes"
    with pytest.raises(ArchitectureError, match=r"layer is called with \['yes'\]"):
        Graph.from_dict(values)


def test_a_package_of_plain_pytorch_has_no_such_calls():
    with pytest.raises(TransferError, match=r"called in a mode of their own .*\n  layer\nUse the converted file"):
        steps_of(import_graph(network("Dropout", True, rate=0.5)))
