"""``python -m resnet_torch train``: `weight-transfer train --framework torch`, by another name, for torchrun too."""

from weight_transfer.cli.app import framework_app, run_program

app = framework_app("torch", "Residual networks in PyTorch, as Keras has them.", compare="summary")

if __name__ == "__main__":
    run_program(app, "python -m resnet_torch")
