"""AlphaZero's residual tower as connect4-alpha-zero builds it: boards channels first, a policy and a value.

Source: Zeta36/connect4-alpha-zero src/connect4_zero/agent/model_connect4.py, commit 43d6c15, and
data/model/model_best_config.json, commit 1dd8759.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from weight_transfer.families.array_matches import Arrays
from weight_transfer.families.builder import Builder, Config
from weight_transfer.families.family import Candidate, Family

CONNECT_4 = (6, 7)  # rows, columns


@dataclass(frozen=True)
class Network:
    """What the shapes of a file show; the last two convolutions are the policy's and the value's.

    Attributes:
        planes: Of the input.
        board: Rows and columns.
        filters: Of the tower.
        kernel_size: Of the tower.
        num_blocks: Of the tower.
        policy_filters: Of the policy's 1x1.
        value_filters: Of the value's 1x1.
        moves: Outputs of the policy.
        value_units: Of the value's hidden layer.
    """

    planes: int
    board: tuple[int, int]
    filters: int
    kernel_size: int
    num_blocks: int
    policy_filters: int
    value_filters: int
    moves: int
    value_units: int


def tower(network: Network) -> Config:
    """Writes the whole network."""
    net = Builder("connect4_model")

    def conv_norm(x: str) -> str:
        x = net.conv(x, network.filters, network.kernel_size, data_format="channels_first")
        return net.norm(x, axis=1)

    def head(x: str, filters: int) -> str:
        x = net.conv(x, filters, 1, padding="valid", data_format="channels_first")
        # Flatten keeps the order (channels, rows, columns) in which the values stand.
        return net.flatten(net.relu(net.norm(x, axis=1)))

    x = net.relu(conv_norm(net.input((network.planes, *network.board))))
    for _ in range(network.num_blocks):
        y = conv_norm(net.relu(conv_norm(x)))
        x = net.relu(net.add([x, y]))
    policy = net.dense(head(x, network.policy_filters), network.moves, "softmax", "policy_out")
    hidden = net.dense(head(x, network.value_filters), network.value_units, "relu")
    return net.model(policy, net.dense(hidden, 1, "tanh", "value_out"))


def _candidates(arrays: Arrays) -> Iterator[Candidate]:
    for network in _networks(arrays):
        rows, columns = network.board
        title = (
            f"AlphaZero tower: blocks {network.num_blocks}; widths {network.filters}; "
            f"board {rows} x {columns}; {network.moves} moves"
        )
        yield title, tower(network)


def _networks(arrays: Arrays) -> Iterator[Network]:
    kernels, dense = arrays.kernels("Conv2D"), arrays.kernels("Dense")
    policy = arrays.shape("policy_out")
    if arrays.counted and len(dense) == 3:
        policy = dense[1]  # model.layers has the value's hidden layer before it
    if len(kernels) < 3 or not dense or policy is None or any(len(shape) != 4 for shape in kernels):
        return
    *trunk, policy_conv, value_conv = kernels
    if arrays.counted:  # and, for the same reason, the value's convolution before the policy's
        policy_conv, value_conv = value_conv, policy_conv
    in_features, value_units = dense[0]
    board = _board(in_features // value_conv[-1])
    if board is not None:
        kernel_size, _, planes, filters = trunk[0]
        yield Network(
            planes,
            board,
            filters,
            kernel_size,
            len(trunk) // 2,
            policy_conv[-1],
            value_conv[-1],
            policy[-1],
            value_units,
        )


def _board(squares: int) -> tuple[int, int] | None:
    """Connect 4's board, or a square one."""
    if squares == math.prod(CONNECT_4):
        return CONNECT_4
    side = math.isqrt(squares)
    return (side, side) if side > 0 and side * side == squares else None


ALPHA_ZERO = Family(
    key="alpha-zero",
    title="connect4-alpha-zero's residual tower",
    source="Zeta36/connect4-alpha-zero src/connect4_zero/agent/model_connect4.py",
    assumptions=(
        "a board of 6 x 7 for 42 squares, else a square one; channels first; batch normalization epsilon 0.001; "
        "policy softmax, value tanh behind a hidden layer of relu"
    ),
    candidates=_candidates,
)
