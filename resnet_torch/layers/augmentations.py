"""Random augmentation in training, with the distributions and the arithmetic of Keras.

Every layer draws in training alone, from PyTorch's generator; how far is a row of its settings. torchvision's
affine transforms have neither Keras's fill modes nor its draws for each image of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.layers.layer_module import LayerModule, TorchShapes, attributes
from weight_transfer.layer_types.layer_type import Settings, Shape


class Augmentation(nn.Module):
    """An augmentation that passes images on in inference; in training, `transformed` by what `drawn` gives.

    As it is, it passes them on in training too: a file that version 0.1.0 converted does not say more.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns images (N, C, H, W)."""
        return self.transformed(x, *self.drawn(x)) if self.training else x

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws what is done to each of the images."""
        return ()

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Does it."""
        return x


class RandomFlip(Augmentation):
    """Mirrors half of the images.

    Args:
        horizontal: Whether left and right change places.
        vertical: Whether top and bottom do.
        together: Whether one draw decides on both, as in Keras 3 from 3.7 on.
    """

    def __init__(self, horizontal: bool, vertical: bool, together: bool) -> None:
        super().__init__()
        self.horizontal = horizontal
        self.vertical = vertical
        self.together = together

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws for each image whether it is mirrored horizontally, and vertically."""
        first, second = torch.rand(2, len(x), device=x.device) <= 0.5
        return first, first if self.together else second

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Mirrors images."""
        for wanted, axis, flips in zip((self.horizontal, self.vertical), (3, 2), drawn, strict=True):
            if wanted:
                x = torch.where(flips[:, None, None, None], x.flip(axis), x)
        return x

    def extra_repr(self) -> str:
        """Shows the directions in the printed module."""
        return f"horizontal={self.horizontal}, vertical={self.vertical}, together={self.together}"


class _Warp(Augmentation):
    """What rotation, zoom and translation share.

    Args:
        fill_mode: What is seen outside of an image: ``reflect``, ``wrap``, ``constant`` or ``nearest``.
        fill_value: Of ``constant``.
        interpolation: ``bilinear`` or ``nearest``.
    """

    def __init__(self, fill_mode: str, fill_value: float, interpolation: str) -> None:
        super().__init__()
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.interpolation = interpolation

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Warps images."""
        rows = self.matrices(x, *drawn)
        return warped(x, rows, self.fill_mode, self.fill_value, self.interpolation)

    def matrices(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Returns (N, 2, 3), from a place (x, y, 1) of the result to its place in the image."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Shows what is seen outside in the printed module."""
        return f"{self.fill_mode}, fill_value={self.fill_value}, {self.interpolation}"


class RandomRotation(_Warp):
    """Turns each image about its middle.

    Args:
        factor: Least and greatest angle, of a whole turn.
        **fill: `_Warp`'s.
    """

    def __init__(self, factor: Sequence[float], **fill: float | str) -> None:
        super().__init__(**fill)  # type: ignore[arg-type]
        self.factor = tuple(factor)

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws an angle in radians for each image."""
        return (_uniform(x, self.factor) * 2 * math.pi,)

    def matrices(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """The rotations."""
        (angle,) = drawn
        cosine, sine = angle.cos(), angle.sin()
        linear = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
        return _about_the_middle(x, linear)

    def extra_repr(self) -> str:
        """Shows the angles in the printed module."""
        return f"{self.factor}, {super().extra_repr()}"


class RandomZoom(_Warp):
    """Zooms each image about its middle.

    Args:
        height_factor: Least and greatest, above 0 to shrink.
        width_factor: The same, or None for the height's draw.
        **fill: `_Warp`'s.
    """

    def __init__(
        self, height_factor: Sequence[float], width_factor: Sequence[float] | None, **fill: float | str
    ) -> None:
        super().__init__(**fill)  # type: ignore[arg-type]
        self.height_factor = tuple(height_factor)
        self.width_factor = None if width_factor is None else tuple(width_factor)

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws by how much each image shrinks in height, and in width."""
        height = 1 + _uniform(x, self.height_factor)
        return height, height if self.width_factor is None else 1 + _uniform(x, self.width_factor)

    def matrices(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """The zooms."""
        height, width = drawn
        return _about_the_middle(x, torch.diag_embed(torch.stack([width, height], 1)))

    def extra_repr(self) -> str:
        """Shows the factors in the printed module."""
        return f"{self.height_factor}, {self.width_factor}, {super().extra_repr()}"


class RandomTranslation(_Warp):
    """Moves each image.

    Args:
        height_factor: Least and greatest way down, of the height.
        width_factor: Least and greatest way to the right, of the width.
        **fill: `_Warp`'s.
    """

    def __init__(self, height_factor: Sequence[float], width_factor: Sequence[float], **fill: float | str) -> None:
        super().__init__(**fill)  # type: ignore[arg-type]
        self.height_factor = tuple(height_factor)
        self.width_factor = tuple(width_factor)

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws how many pixels each image moves down, and to the right."""
        return _uniform(x, self.height_factor) * x.shape[2], _uniform(x, self.width_factor) * x.shape[3]

    def matrices(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """The moves."""
        down, right = drawn
        linear = torch.eye(2, device=x.device).expand(len(x), 2, 2)
        return torch.cat([linear, -torch.stack([right, down], 1)[:, :, None]], 2)

    def extra_repr(self) -> str:
        """Shows the factors in the printed module."""
        return f"{self.height_factor}, {self.width_factor}, {super().extra_repr()}"


class RandomContrast(Augmentation):
    """Scales the distance from each channel's mean, and clips.

    Args:
        factor: Least and greatest scale.
        value_range: To clip to.
        each: Whether each image has a draw of its own, as in Keras 3 from 3.7 on, or the batch has one.
    """

    def __init__(self, factor: Sequence[float], value_range: Sequence[float], each: bool) -> None:
        super().__init__()
        self.factor = tuple(factor)
        self.value_range = tuple(value_range)
        self.each = each

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws a scale for each image."""
        scale = _uniform(x, self.factor)
        return (scale if self.each else scale[:1].expand(len(x)),)

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Scales and clips."""
        mean = x.mean((2, 3), keepdim=True)
        return ((x - mean) * drawn[0].to(x.dtype)[:, None, None, None] + mean).clamp(*self.value_range)

    def extra_repr(self) -> str:
        """Shows the scales in the printed module."""
        return f"{self.factor}, value_range={self.value_range}, each={self.each}"


class RandomBrightness(Augmentation):
    """Adds a number to each image, and clips.

    Args:
        factor: Least and greatest, of the range.
        value_range: To clip to.
    """

    def __init__(self, factor: Sequence[float], value_range: Sequence[float]) -> None:
        super().__init__()
        self.factor = tuple(factor)
        self.value_range = tuple(value_range)

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws a number for each image."""
        least, greatest = self.value_range
        return (_uniform(x, self.factor) * (greatest - least),)

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Adds and clips."""
        return (x + drawn[0].to(x.dtype)[:, None, None, None]).clamp(*self.value_range)

    def extra_repr(self) -> str:
        """Shows the numbers in the printed module."""
        return f"{self.factor}, value_range={self.value_range}"


class RandomCrop(Augmentation):
    """Takes one window of a whole batch at random.

    Args:
        size: Height and width of the window.
        at_inference: Whether images are cropped about the middle to the window's proportions and resized to it in
            inference, and where they are too small. Keras 3 passes them on in inference from 3.7 on.
    """

    def __init__(self, size: Sequence[int], at_inference: bool) -> None:
        super().__init__()
        self.size = tuple(size)
        self.at_inference = at_inference

    def forward(self, x: Tensor) -> Tensor:
        """Crops images (N, C, H, W)."""
        if not self.training:
            return self.resized(x) if self.at_inference else x
        slack = [size - wanted for size, wanted in zip(x.shape[2:], self.size, strict=True)]
        if min(slack) >= (0 if self.at_inference else 1):
            return self.transformed(x, *self.drawn(x))
        return self.resized(x) if self.at_inference else self.filled(x)

    def drawn(self, x: Tensor) -> tuple[Tensor, ...]:
        """Draws the first row and the first column."""
        sizes = zip(x.shape[2:], self.size, strict=True)
        return tuple(torch.randint(size - wanted + 1, ()) for size, wanted in sizes)

    def transformed(self, x: Tensor, *drawn: Tensor) -> Tensor:
        """Cuts the window out."""
        top, left = (int(first) for first in drawn)
        return x[:, :, top : top + self.size[0], left : left + self.size[1]]

    def resized(self, x: Tensor) -> Tensor:
        """Crops about the middle and resizes, as tf_keras's `smart_resize`."""
        (height, width), (top, left) = self._middle(x)
        return self._scaled(x[:, :, top : top + height, left : left + width])

    def filled(self, x: Tensor) -> Tensor:
        """Cuts the window out of images that are not larger than it, and resizes what that gives."""
        _, (top, left) = self._middle(x)
        return self._scaled(x[:, :, top : top + self.size[0], left : left + self.size[1]])

    def _middle(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size and first place of the middle part that has the window's proportions."""
        height, width = x.shape[2:]
        part = (
            max(min(height, int(width * self.size[0] / self.size[1])), 1),
            max(min(width, int(height * self.size[1] / self.size[0])), 1),
        )
        return part, ((height - part[0]) // 2, (width - part[1]) // 2)

    def _scaled(self, x: Tensor) -> Tensor:
        return x if tuple(x.shape[2:]) == self.size else F.interpolate(x, size=self.size, mode="bilinear")

    def extra_repr(self) -> str:
        """Shows the size in the printed module."""
        return f"{self.size}, at_inference={self.at_inference}"


def warped(x: Tensor, matrices: Tensor, fill_mode: str, fill_value: float, interpolation: str) -> Tensor:
    """Warps images as TensorFlow does.

    Args:
        x: (N, C, H, W).
        matrices: (N, 2, 3), from a place (x, y, 1) of the result to its place in the image.
        fill_mode: What is seen outside of it.
        fill_value: Of ``constant``.
        interpolation: ``bilinear`` or ``nearest``.

    Returns:
        Like ``x``.

    Source: tensorflow/core/kernels/image/image_ops.h, ProjectiveGenerator and MapCoordinate.
    """
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
    )
    places = torch.stack([columns, rows, torch.ones_like(rows)]).float().flatten(1)
    across, down = (matrices.float() @ places).unbind(1)  # (N, places)
    across, down = _inside(across, width, fill_mode), _inside(down, height, fill_mode)
    if interpolation == "nearest":
        return _read(x, _rounded(down), _rounded(across), fill_value).reshape(x.shape)
    top, left = down.floor(), across.floor()
    right_share, lower_share = (across - left)[:, None].to(x.dtype), (down - top)[:, None].to(x.dtype)
    upper = (1 - right_share) * _read(x, top, left, fill_value) + right_share * _read(x, top, left + 1, fill_value)
    lower = (1 - right_share) * _read(x, top + 1, left, fill_value)
    lower = lower + right_share * _read(x, top + 1, left + 1, fill_value)
    return ((1 - lower_share) * upper + lower_share * lower).reshape(x.shape)


def _inside(places: Tensor, size: int, fill_mode: str) -> Tensor:
    """Which place of an axis is seen at any place, also outside of it."""
    if fill_mode == "constant":
        return places
    if fill_mode == "reflect" and size > 1:
        turned = torch.where(places < 0, -places - 1, places)  # the mirror stands before the first pixel
        turned = turned - 2 * size * torch.floor(turned / (2 * size))
        places = torch.where(turned >= size, 2 * size - turned - 1, turned)
    if fill_mode == "wrap" and size > 1:
        before = places + size * (torch.floor(-places / (size - 1)) + 1)
        behind = places - size * torch.floor(places / (size - 1))
        places = torch.where(places < 0, before, torch.where(places > size - 1, behind, places))
    return places.clamp(0, size - 1)


def _rounded(places: Tensor) -> Tensor:
    """To the nearest whole number, halves away from zero."""
    return places.sign() * (places.abs() + 0.5).floor()


def _read(x: Tensor, rows: Tensor, columns: Tensor, fill_value: float) -> Tensor:
    """The pixels at (N, places), (N, C, places); the fill value outside of an image."""
    height, width = x.shape[2:]
    known = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    pixels = x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1))
    return torch.where(known[:, None], pixels, fill_value)


def _about_the_middle(x: Tensor, linear: Tensor) -> Tensor:
    """Matrices (N, 2, 3) of linear maps (N, 2, 2) that leave the middle of the images where it is."""
    middle = torch.tensor([(x.shape[3] - 1) / 2, (x.shape[2] - 1) / 2], device=x.device)
    return torch.cat([linear, (middle - linear @ middle)[:, :, None]], 2)


def _uniform(x: Tensor, bounds: Sequence[float]) -> Tensor:
    """One number for each image."""
    least, greatest = bounds
    return least + (greatest - least) * torch.rand(len(x), device=x.device)


# By class, its module and the settings that it is built from, which are its attributes.
_FILL = ("fill_mode", "fill_value", "interpolation")
_CLASSES: Mapping[str, tuple[type[Augmentation], Sequence[str]]] = {
    "RandomFlip": (RandomFlip, ("horizontal", "vertical", "together")),
    "RandomRotation": (RandomRotation, ("factor", *_FILL)),
    "RandomZoom": (RandomZoom, ("height_factor", "width_factor", *_FILL)),
    "RandomTranslation": (RandomTranslation, ("height_factor", "width_factor", *_FILL)),
    "RandomContrast": (RandomContrast, ("factor", "value_range", "each")),
    "RandomBrightness": (RandomBrightness, ("factor", "value_range")),
    "RandomCrop": (RandomCrop, ("size", "at_inference")),
}


def _row(module: type[Augmentation], names: Sequence[str]) -> LayerModule:
    def build(settings: Settings, torch_shapes: TorchShapes, in_shapes: Sequence[Shape]) -> nn.Module:
        arguments = {key: value for key, value in settings.items() if key != "data_format"}
        return module(**arguments) if arguments else Augmentation()

    return LayerModule(build, {module: attributes(**{name: name for name in names}), Augmentation: attributes()})


AUGMENTATION_LAYERS: Mapping[str, LayerModule] = {class_name: _row(*row) for class_name, row in _CLASSES.items()}
