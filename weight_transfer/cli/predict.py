"""``weight-transfer predict``: what the port says of image files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape
from rich.table import Table

from weight_transfer.class_names import read_class_names
from weight_transfer.cli import options
from weight_transfer.cli.applicability import of_a_converted_file, refuse_idle
from weight_transfer.cli.input_options import NAMES as INPUT_NAMES
from weight_transfer.cli.terminal import facts, input_facts, out, print_json, progress
from weight_transfer.conversion.convert import convert
from weight_transfer.conversion.description import with_input
from weight_transfer.conversion.hints import Hints
from weight_transfer.converted import Converted, is_converted, read_converted
from weight_transfer.description import Description
from weight_transfer.errors import TransferError
from weight_transfer.images import check_loading, image_files
from weight_transfer.parity.protocol import PredictionRequest, PredictionResult
from weight_transfer.parity.runner import Runner, check_installed, temporary_folder
from weight_transfer.picture_classifier import PictureClassifier, picture_classifier
from weight_transfer.progress import stage
from weight_transfer.resnet.dialects import IMAGENET_CLASSES

ABOUT_IMAGES = {*INPUT_NAMES, "input_size"}  # what acts on the images that are shown here, whatever the file is
DEVICES = ("cpu", "cuda", "mps")
IMAGENET = "imagenet"  # in place of a file of names
PROBABILITIES_SUM = 1e-3  # how far from 1 the outputs of a softmax may add up, in float16 too


@click.command(
    "predict",
    epilog="Examples: weight-transfer predict resnet50.safetensors cat.jpg photos/\n\n"
    "weight-transfer predict resnet50.h5 cat.jpg --classes names.txt --image-loading opencv",
)
@click.argument("model", type=options.PathOf)
@click.argument("images", type=options.PathOf, nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to show.")
@click.option("--classes", type=options.PathOf, help="Names of the classes: one a line, or JSON; or: imagenet.")
@click.option(
    "--device", type=click.Choice(list(DEVICES)), default=DEVICES[0], show_default=True, help="Where the port runs."
)
@options.as_json
@options.about_the_file
@options.with_runner
def predict_command(
    model: Path,
    images: tuple[Path, ...],
    top: int,
    classes: Path | None,
    device: str,
    json: bool,
    runner: Runner,
    **said: Any,
) -> None:
    """Classify images by the PyTorch port of MODEL, a converted file or a Keras checkpoint.

    IMAGES are files, or folders of them. What MODEL does not say of its images is guessed, unless options say it:
    --preprocessing, --scale, --mean, --std, --channel-order, --image-loading, --crop, --input-size.
    """
    check_installed("resnet_torch")
    refuse_idle(of_a_converted_file(is_converted(model), model, set(options.ABOUT_THE_FILE) - ABOUT_IMAGES))
    hints = options.hints_of(**said)
    files = image_files(images)
    wants_imagenet = classes is not None and str(classes) == IMAGENET and not classes.exists()
    names = None if classes is None or wants_imagenet else read_class_names(classes)
    with _opened(model, hints) as converted:
        classifier = picture_classifier(converted.network)
        if names is not None and len(names) != classifier.num_classes:
            raise TransferError(
                f"{classes}: {len(names)} class names. Expected {classifier.num_classes}, one for each class "
                f"of {model}."
            )
        if wants_imagenet and classifier.num_classes != IMAGENET_CLASSES:
            raise TransferError(
                f"--classes imagenet: 1000 names. {model} tells {classifier.num_classes} classes apart."
            )
        known = with_input(converted.description, str(model), hints.preprocessing, hints.image_loading, hints.crop)
        check_loading(known.loading, classifier.channels)
        request = PredictionRequest(
            converted=converted.path,
            images=tuple(files),
            image_loading=known.loading,
            crop=known.crop,
            size=hints.in_shape,
            preprocessing=known.preprocessing,
            top=top,
            device=device,
            imagenet=names is None and (wants_imagenet or known.is_imagenet),
        )
        with progress(quiet=json) as bar:
            result = runner(request, stage(bar, "predicting"))
    found = _described(model, known, request, result, names)
    print_json(found) if json else _print(found, classifier, known)


@contextmanager
def _opened(model: Path, hints: Hints) -> Iterator[Converted]:
    """Yields a converted file: the one named, or what a Keras checkpoint is converted to on the way."""
    if is_converted(model):
        yield read_converted(model)
        return
    with temporary_folder() as folder:
        converted = folder / "converted.safetensors"
        of_the_file = dataclasses.replace(hints, in_shape=None, preprocessing=None, image_loading=None, crop=None)
        convert(model, converted, of_the_file)  # the rest is of the images shown here
        yield read_converted(converted)


def _described(
    model: Path,
    known: Description,
    request: PredictionRequest,
    result: PredictionResult,
    said: Sequence[str] | None,
) -> dict[str, Any]:
    """The answer as JSON can hold it."""
    names = result.names if said is None else said
    return {
        "model": str(model),
        "name": known.network.title,
        **known.input_as_dict(),
        "image_loading": known.loading,
        "class_names": "said" if said is not None else "imagenet" if names is not None else None,
        "device": request.device,
        "images": [
            {
                "file": str(one.path),
                "size": one.size,
                "probabilities": abs(one.total - 1) < PROBABILITIES_SUM,
                "top": [
                    {
                        "class": guess.number,
                        "name": None if names is None else names[guess.number],
                        "output": guess.output,
                    }
                    for guess in one.top
                ],
            }
            for one in result.predictions
        ],
    }


def _print(found: Mapping[str, Any], classifier: PictureClassifier, known: Description) -> None:
    """Prints how images were made inputs, then a table for each."""
    classes = f"{classifier.num_classes:,} classes"
    classes += {"imagenet": ", ImageNet's"}.get(found["class_names"], "")
    classes += ", by one sigmoid: the probability of class 1" if classifier.binary else ""
    out.print(facts({"model": f"{escape(found['name'])}, {classes}", **input_facts(known)}))
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
