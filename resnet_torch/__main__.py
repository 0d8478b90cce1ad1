"""``python -m resnet_torch train``: `weight-transfer train --framework torch`, by another name, for torchrun too."""

from weight_transfer.cli.app import main_of

if __name__ == "__main__":
    main_of("torch", "python -m resnet_torch", "Residual networks in PyTorch, as Keras has them.", compare="summary")
