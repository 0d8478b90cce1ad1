"""``python -m resnet_keras train``: `weight-transfer train --framework keras`, by another name."""

from weight_transfer.cli.app import framework_app, run_program

app = framework_app("keras", "Residual networks in Keras, as the tutorial trains them.")

if __name__ == "__main__":
    run_program(app, "python -m resnet_keras")
