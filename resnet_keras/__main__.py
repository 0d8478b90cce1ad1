"""``python -m resnet_keras train``: `weight-transfer train --framework keras`, by another name."""

from weight_transfer.cli.app import main_of

if __name__ == "__main__":
    main_of("keras", "python -m resnet_keras", "Residual networks in Keras, as the tutorial trains them.")
