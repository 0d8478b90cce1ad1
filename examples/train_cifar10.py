"""The tutorial's recipe on CIFAR-10 in a plain PyTorch loop, from scratch or from a converted checkpoint.

    python examples/train_cifar10.py cifar10.npz
    python examples/train_cifar10.py cifar10.npz --checkpoint demo/resnet50.h5 --learning-rate 1e-4

The file holds `train_images` (N, 32, 32, 3) in 0..255 and `train_labels` (N,). The recipe: 80/20
split by seed 2021, images resized to 128 x 128, caffe preprocessing, batches of 32 reshuffled every
epoch with the short last one kept, Adam with Keras's epsilon, categorical cross-entropy.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_torch import ResNet, create_resnet, load_model
from weight_transfer.preprocessing import preprocess

SPLIT_SEED = 2021


def main() -> None:
    """Trains and prints the loss of every step and the validation accuracy of every epoch."""
    arguments = parse_arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    with np.load(arguments.data) as data:
        images, labels = data["train_images"][: arguments.images], data["train_labels"][: arguments.images]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    train, validation = np.split(order, [int(0.8 * len(order))])

    if arguments.checkpoint is None:
        model = create_resnet((arguments.size, arguments.size, 3), n_classes=10)
    else:
        model = load_model(arguments.checkpoint)
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), arguments.learning_rate, eps=1e-7)

    for epoch in range(arguments.epochs):
        losses = []
        shuffled = np.random.default_rng(arguments.seed + epoch).permutation(train)
        for x, y in batches(images, labels, shuffled, arguments.size, device):
            model.train()
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            print(f"epoch {epoch + 1}  step {len(losses):3}  loss {losses[-1]:.4f}", flush=True)
        quarter = max(1, len(losses) // 4)
        print(f"epoch {epoch + 1}  loss {np.mean(losses[:quarter]):.4f} in its first quarter, ", end="")
        print(f"{np.mean(losses[-quarter:]):.4f} in its last, ", end="")
        print(f"validation accuracy {accuracy(model, images, labels, validation, arguments.size, device):.3f}")


def batches(
    images: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int, device: str, batch_size: int = 32
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields preprocessed (N, 3, size, size) images and their labels (N,)."""
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        x = torch.from_numpy(images[chosen].astype(np.float32)).permute(0, 3, 1, 2)
        # OpenCV's bilinear: half-pixel centres, no antialiasing.
        x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        x = torch.from_numpy(preprocess(x.permute(0, 2, 3, 1).numpy(), "caffe")).permute(0, 3, 1, 2)
        y = torch.from_numpy(labels[chosen].astype(np.int64)).flatten()
        yield x.contiguous().to(device), y.to(device)


def accuracy(model: ResNet, images: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int, device: str) -> float:
    """Share of images whose most probable class is the label."""
    hits = [(model.predict(x).argmax(1) == y).cpu() for x, y in batches(images, labels, order, size, device)]
    model.train()
    return torch.cat(hits).float().mean().item()


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a .npz file of images and labels")
    parser.add_argument("--checkpoint", help="a Keras checkpoint or a converted file to go on from")
    parser.add_argument("--images", type=int, default=640, help="how many images to use (default 640)")
    parser.add_argument("--size", type=int, default=128, help="size to resize to (default 128)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="1e-4 to go on from a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
