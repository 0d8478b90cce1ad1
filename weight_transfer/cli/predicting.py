"""``weight-transfer predict``: what the port says of image files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table

from weight_transfer.class_names import read_class_names
from weight_transfer.cli import options
from weight_transfer.cli.terminal import facts, loading_text, out, print_json, progress
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.hints import Hints
from weight_transfer.converted import Converted, is_converted, read_converted
from weight_transfer.errors import TransferError
from weight_transfer.images import ImageLoading, check_loading, image_files
from weight_transfer.network import preprocessing_of, title_of
from weight_transfer.parity.processes import check_installed, run_side
from weight_transfer.picture_classifier import PictureClassifier, picture_classifier

DEVICES = ("cpu", "cuda", "mps")
DEFAULT_LOADING: ImageLoading = "keras"
IMAGENET_CLASSES = 1000
PROBABILITIES_SUM = 1e-3  # how far from 1 the outputs of a softmax may add up, in float16 too


@click.command(
    "predict",
    epilog="Examples: weight-transfer predict resnet50.safetensors cat.jpg photos/\n\n"
    "weight-transfer predict resnet50.h5 cat.jpg --classes names.txt --image-loading opencv",
)
@click.argument("model", type=options.PathOf)
@click.argument("images", type=options.PathOf, nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to show.")
@click.option("--classes", type=options.PathOf, help="Names of the classes: one a line, or JSON.")
@click.option(
    "--device", type=click.Choice(list(DEVICES)), default=DEVICES[0], show_default=True, help="Where the port runs."
)
@options.as_json
@options.image_loading
@options.about_the_file
def predict_command(
    model: Path,
    images: tuple[Path, ...],
    top: int,
    classes: Path | None,
    device: str,
    json: bool,
    preprocessing: Any,
    **said: Any,
) -> None:
    """Classify images by the PyTorch port of MODEL, a converted file or a Keras checkpoint.

    IMAGES are files, or folders of them. What MODEL does not say of its input is said by --image-loading,
    --preprocessing and --input-size.
    """
    check_installed("resnet_torch")
    hints = options.hints_of(preprocessing=preprocessing, **said)
    files = image_files(images)
    names = None if classes is None else read_class_names(classes)
    with _opened(model, hints) as converted:
        classifier = picture_classifier(converted.network)
        if names is not None and len(names) != classifier.num_classes:
            raise TransferError(
                f"{classes}: {len(names)} class names. Expected {classifier.num_classes}, one for each output "
                f"of {model}."
            )
        known = hints.image_loading or converted.description.image_loading
        loading = known or DEFAULT_LOADING
        check_loading(loading, classifier.channels)
        request = {
            "converted": str(converted.path),
            "images": [str(file) for file in files],
            "image_loading": loading,
            "size": hints.in_shape,
            "preprocessing": preprocessing or preprocessing_of(converted.network),
            "top": top,
            "device": device,
            "imagenet": names is None and classifier.num_classes == IMAGENET_CLASSES,
        }
        with progress(quiet=json) as bar:
            result = run_side("resnet_torch.prediction", request, lambda share: bar("predicting", share))
    if "error" in result:
        raise TransferError(result["error"])
    found = _described(model, converted, request, result, names)
    print_json(found) if json else _print(found, classifier, loading_is_known=known is not None)


@contextmanager
def _opened(model: Path, hints: Hints) -> Iterator[Converted]:
    """Yields a converted file: the one named, or what a Keras checkpoint is converted to on the way."""
    if is_converted(model):
        yield read_converted(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "converted.safetensors"
        convert(model, converted, hints)
        yield read_converted(converted)


def _described(
    model: Path,
    converted: Converted,
    request: Mapping[str, Any],
    result: Mapping[str, Any],
    names: Sequence[str] | None,
) -> dict[str, Any]:
    """The answer as JSON can hold it."""
    names = result["names"] if names is None else names
    return {
        "model": str(model),
        "name": title_of(converted.network),
        "image_loading": request["image_loading"],
        "preprocessing": request["preprocessing"],
        "device": request["device"],
        "images": [
            {
                "file": one["path"],
                "size": one["size"],
                "probabilities": abs(one["total"] - 1) < PROBABILITIES_SUM,
                "top": [
                    {
                        "class": guess["number"],
                        "name": None if names is None else names[guess["number"]],
                        "output": guess["output"],
                    }
                    for guess in one["top"]
                ],
            }
            for one in result["predictions"]
        ],
    }


def _print(found: Mapping[str, Any], classifier: PictureClassifier, loading_is_known: bool) -> None:
    """Prints how images were made inputs, then a table for each."""
    note = "" if loading_is_known else " (not known of this model: say --image-loading)"
    out.print(
        facts(
            {
                "model": f"{escape(found['name'])}, {classifier.num_classes:,} classes",
                "image loading": loading_text(found["image_loading"]) + note,
                "preprocessing": found["preprocessing"],
            }
        )
    )
    for one in found["images"]:
        height, width = one["size"]
        out.print(f"\n[bold]{escape(one['file'])}[/] at {height} x {width}", soft_wrap=True)
        out.print(_table(one))


def _table(one: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("class", justify="right")
    if one["top"][0]["name"] is not None:
        table.add_column("name", overflow="fold")
    table.add_column("probability" if one["probabilities"] else "output", justify="right")
    for guess in one["top"]:
        name = [] if guess["name"] is None else [escape(guess["name"])]
        value = f"{guess['output']:.4f}" if one["probabilities"] else f"{guess['output']:.5g}"
        table.add_row(str(guess["class"]), *name, value)
    return table
