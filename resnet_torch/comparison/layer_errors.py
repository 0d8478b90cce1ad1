"""A subject against a recording: every layer's output, the loss, the gradients, the statistics after a step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.comparison.subject import Subject
from resnet_torch.conv_norm import BATCH_NORMS
from resnet_torch.imported import without_chance
from resnet_torch.inference import inference
from weight_transfer.images import load_images
from weight_transfer.parity.error import TapError
from weight_transfer.parity.inputs import Case, loaded
from weight_transfer.parity.losses import Loss, target
from weight_transfer.parity.recording import Recording
from weight_transfer.parity.report import Check
from weight_transfer.preprocessing import Preprocessing, preprocess

DTYPES = {"float64": torch.float64, "float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}

Found = Callable[[Check, str, TapError], None]


def network_inputs(subject: Subject, case: Case, preprocessing: Preprocessing | None = None) -> list[Tensor]:
    """Returns a case's inputs as the subject takes them.

    Args:
        subject: Who takes them.
        case: The inputs.
        preprocessing: Of raw images, in place of the subject's.
    """
    return [subject.from_keras(array) for array in keras_inputs(subject, case, preprocessing)]


def keras_inputs(subject: Subject, case: Case, preprocessing: Preprocessing | None = None) -> list[np.ndarray]:
    """Returns a case's inputs as Keras takes them; arguments as for `network_inputs`."""
    how = preprocessing or subject.preprocessing
    pixels = loaded(case, subject.channels, load_images)
    return [preprocess(array, how) if case.raw else array for array in pixels]


def compare_inference(subject: Subject, recording: Recording, case: Case, found: Found) -> list[Tensor]:
    """Compares every layer's output in inference mode.

    Args:
        subject: In the dtype and on the device to compare in.
        recording: Of the reference.
        case: Which inputs.
        found: Called with each comparison as it is made; it may raise `Stop`.

    Returns:
        The outputs before their last activation.
    """
    with restored(subject.model), inference(subject.model), without_chance(subject.model):
        return _compare_outputs(subject, recording, case, "inference", found)


def compare_as_it_is(
    subject: Subject, recording: Recording, case: Case, found: Found, given: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """`compare_inference` in whatever mode the module is; its statistics are put back afterwards.

    Args:
        subject: In the dtype and on the device to compare in.
        recording: Of the reference.
        case: Which inputs.
        found: Called with each comparison as it is made.
        given: The inputs as the subject takes them, where they are to lie otherwise in memory.

    Returns:
        The outputs before their last activation.
    """
    with restored(subject.model), torch.no_grad():
        return _compare_outputs(subject, recording, case, "inference", found, given)


def compare_training(
    subject: Subject,
    recording: Recording,
    case: Case,
    found: Found,
    mode: Callable[[nn.Module], AbstractContextManager[None]] | None = None,
) -> None:
    """Compares one training step: outputs, loss, gradients, statistics. The model is put back as it was.

    Args:
        subject: In float64.
        recording: Of the reference.
        case: Which inputs.
        found: Called with each comparison as it is made.
        mode: What puts the model into training mode, by default `training_mode`.
    """
    model = subject.model
    with restored(model), (mode or training_mode)(model):
        logits = _compare_outputs(subject, recording, case, "training", found)
        if not logits:
            return
        loss = loss_of(subject, logits)
        rest = {(entry.check, entry.name): entry for entry in recording.entries if entry.case == case.name}
        if ("loss", "loss") in rest:
            value = loss.detach().cpu().numpy().reshape(1)
            found("loss", "loss", recording.expected(rest["loss", "loss"]).error(value))
        model.zero_grad()
        if loss.requires_grad:  # a network without parameters learns nothing
            torch.autograd.backward(loss)
        state = dict(model.state_dict(keep_vars=True))
        for (check, name), entry in rest.items():
            if check in ("gradient", "statistics"):
                row = subject.rows.get(name)
                tensor = None if row is None else state.get(row.torch)
                found(check, name, recording.expected(entry).error(_as_keras(subject, name, tensor, check)))
        model.zero_grad()


def _as_keras(subject: Subject, name: str, tensor: Tensor | None, check: Check) -> np.ndarray:
    """A gradient or a statistic in Keras's layout; an empty array where there is none."""
    if tensor is None:
        return np.empty(0)
    value = tensor.grad if check == "gradient" else tensor
    value = torch.zeros_like(tensor) if value is None else value
    return subject.rows[name].to_keras(value.detach().cpu().numpy())


def _compare_outputs(
    subject: Subject,
    recording: Recording,
    case: Case,
    check: Check,
    found: Found,
    given: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Compares every layer's output; none of those behind a layer whose output no other layer can take."""
    unlike: list[str] = []
    entries = {entry.name: entry for entry in recording.of(case.name, check)}

    def note(name: str, output: Tensor) -> None:
        if name in entries:
            expected = recording.expected(entries[name])
            error = min((expected.error(array) for array in _forms(subject, name, output)), key=lambda one: one.error)
            if not np.isfinite(error.error):
                unlike.append(name)
            found(check, name, error)

    try:
        return subject.run(network_inputs(subject, case) if given is None else given, note)
    except RuntimeError:
        if unlike:  # of another shape: the error to explain is there
            return []
        raise


def _forms(subject: Subject, name: str, output: Tensor) -> Iterator[np.ndarray]:
    """An output as Keras lays it out; of somebody's own module, what it may be besides."""
    for tensor in (output, *(finish(output) for finish in subject.fused.get(name, ()))):
        yield subject.to_keras(tensor)
        if subject.own_layouts and tensor.ndim > 2:
            yield subject.as_it_lies(tensor)


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Puts all batch norms that are not frozen, and they alone, into training mode; without what is chance."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for module in model.modules():
        if isinstance(module, BATCH_NORMS) and not getattr(module, "frozen", False):
            module.training = True
    try:
        with without_chance(model):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def own_training_mode(model: nn.Module, norms: Collection[nn.Module] = ()) -> Iterator[None]:
    """Puts a module into training mode as its own `train` does, whatever that is.

    Args:
        model: The module. Random layers act, unless something holds them still.
        norms: Batch norms that take the statistics of a batch, whatever `train` says.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Puts all statistics back afterwards: a batch norm that should not may have moved them."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def loss_of(subject: Subject, logits: Sequence[Tensor], labels: Sequence[int] | None = None) -> Tensor:
    """Returns the loss of a step: the sum of the outputs' losses.

    Args:
        subject: Whose outputs.
        logits: What `Subject.run` returned.
        labels: Classes of the images, in place of those that `target` makes up.
    """
    classes = None if labels is None else np.asarray(labels, np.int64)
    losses = [_loss(subject, kind, y, classes) for kind, y in zip(subject.losses, logits, strict=True)]
    return torch.stack(losses).sum()


def _loss(subject: Subject, kind: Loss, logits: Tensor, labels: np.ndarray | None) -> Tensor:
    shape = subject.to_keras(logits).shape
    wanted = torch.from_numpy(np.ascontiguousarray(target(kind, shape, labels))).to(logits.device)
    if kind == "cross entropy":
        return F.cross_entropy(logits, wanted)
    wanted = wanted.movedim(-1, 1) if subject.channels_last and logits.ndim > 2 else wanted
    if kind == "binary cross entropy":
        return F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype))
    return F.mse_loss(logits, wanted.to(logits.dtype))


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Makes float32 mean float32 on CUDA, and ``tf32`` TensorFloat-32."""
    with warnings.catch_warnings():  # PyTorch 2.9 warns of it, 2.14 does not
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
