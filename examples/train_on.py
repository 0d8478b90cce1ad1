"""Trains a port on other classes in a loop of one's own, by Keras's rules, and writes it for PyTorch and for Keras.

    python examples/train_on.py resnet50.safetensors data.npz

The data holds train_images, (N, H, W, 3) of whole numbers in 0..255, and train_labels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from resnet_torch import load_model, parameter_groups, save_converted, save_keras
from resnet_torch.optimizers import Adam
from resnet_torch.regularizers import regularization
from weight_transfer.preprocessing import preprocess

EPOCHS, BATCH_SIZE, LEARNING_RATE = 2, 16, 1e-3


def main(port: Path, data: Path) -> None:
    """Trains the last stage and a new head."""
    with np.load(data) as arrays:
        images, labels = arrays["train_images"], torch.from_numpy(arrays["train_labels"].astype(np.int64).ravel())
    model = load_model(port)
    inputs = torch.from_numpy(preprocess(images, model.description.preprocessing)).movedim(-1, 1)
    model.reset_classifier(int(labels.max()) + 1)
    model.freeze("stem", "stage2")  # no gradients, and batch norms that stay in inference mode, as in Keras
    optimizer = Adam(parameter_groups(model, LEARNING_RATE, layer_decay=0.7), lr=LEARNING_RATE)
    penalty = regularization(model)  # of the layers whose file has a regularizer
    for epoch in range(EPOCHS):
        model.train()
        losses = []
        for batch in torch.randperm(len(labels)).split(BATCH_SIZE):
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch]) + penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    model.eval()
    save_converted(model, port.with_name("tuned.safetensors"))
    save_keras(model, port.with_name("tuned.keras"))
    print("wrote tuned.safetensors and tuned.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
