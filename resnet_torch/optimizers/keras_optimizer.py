"""What Keras's optimizers share: clipping, decoupled weight decay, the step counter, averages of the weights."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import TypedDict

from resnet_torch.constraints import apply_constraints
from resnet_torch.optimizers.bucket import Bucket, Number, number_of, through_float32
from resnet_torch.optimizers.clipping import CLIPPING, clip
from weight_transfer.errors import TransferError, listing, nearest

LearningRate: TypeAlias = float | Callable[[int], float]
Parameters: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class SharedBesidesDecay(TypedDict, total=False):
    """The keyword arguments that every optimizer takes, in Keras's names; `KerasOptimizer` says what they do."""

    clipnorm: float | None
    global_clipnorm: float | None
    clipvalue: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    ema_rule: Literal["keras3", "tf_keras"]


class Shared(SharedBesidesDecay, total=False):
    """`SharedBesidesDecay`, and the weight decay, which is off by default in all rules but AdamW."""

    weight_decay: float | None


class KerasOptimizer(Optimizer):
    """The part of a step that does not depend on the rule; a rule is a subclass in a file of its own.

    A step is Keras's, in its order: gradients clipped, ``w -= w * weight_decay * lr``, the rule, the
    average of the weights, the constraints that parameters have (`resnet_torch.constraints`). Every
    parameter group may set every argument for itself, in torch's way; the step counter is Keras's one
    counter, kept as each group's ``iterations``.

    The arguments have torch's names where torch has them (``lr``, ``betas``, ``eps``, ``alpha`` for
    Keras's ``rho``), else Keras's. The defaults are Keras's. As Keras's learning rate is held in the
    dtype of its weights (``floatx``), ``lr`` is used in the dtype of the parameters; for float64
    weights that were trained with a float32 ``floatx``, pass ``float(numpy.float32(lr))``, which is
    also what Keras's own config holds.

    Args:
        params: Parameters, (name, parameter) pairs, or groups of either.
        lr: Learning rate, or a function of the step, counted from 0, such as those of
            `resnet_torch.schedules`. A group's ``lr`` is then the one of its last step.
        hyperparameters: The rule's own arguments.
        weight_decay: Decoupled, for every rule. None for none.
        clipnorm: Each gradient's norm is brought down to this.
        global_clipnorm: All gradients together are brought down to this norm. One of all groups.
        clipvalue: Each element is clipped to plus and minus this. At most one of the three.
        use_ema: Whether to keep an average of the weights, as the slot ``average``.
        ema_momentum: ``average = ema_momentum * average + (1 - ema_momentum) * weight``.
        ema_overwrite_frequency: Every so many steps the weights become their averages. None: never,
            but by `finalize_variable_values`.
        ema_rule: What the average starts from: the weights after the first step (``keras3``) or
            before it (``tf_keras``).

    Raises:
        TransferError: An argument is not one that Keras would take.

    Source: Keras 3.15.1 keras/src/optimizers/base_optimizer.py, apply and _backend_apply_gradients;
    keras/src/backend/tensorflow/optimizer.py, _apply_weight_decay and _clip_by_norm; tf_keras
    optimizers/optimizer.py, _update_model_variables_moving_average.
    """

    def __init__(
        self,
        params: Parameters,
        lr: LearningRate,
        hyperparameters: Mapping[str, Any],
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        ema_rule: Literal["keras3", "tf_keras"] = "keras3",
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "clipnorm": clipnorm,
            "global_clipnorm": global_clipnorm,
            "clipvalue": clipvalue,
            "use_ema": use_ema,
            "ema_momentum": ema_momentum,
            "ema_overwrite_frequency": ema_overwrite_frequency,
            "ema_rule": ema_rule,
            **hyperparameters,
            "iterations": 0,
        }
        super().__init__(params, defaults)

    # What a rule is

    def slots(self, group: Mapping[str, Any]) -> dict[str, float]:
        """Names the tensors that the rule keeps for each parameter, as Keras does, with their first value."""
        raise NotImplementedError

    def scalars(self, group: Mapping[str, Any], number: Number, lr: Any, step: Any) -> tuple[Any, ...]:
        """Computes what a step needs once: in Keras's dtype, with Keras's roundings.

        Args:
            group: The parameter group.
            number: numpy's type of the parameters' dtype.
            lr: Learning rate, a ``number``.
            step: Steps counted from 1, a ``number``.

        Returns:
            What `update` takes as ``scalars``.
        """
        raise NotImplementedError

    def update(self, group: Mapping[str, Any], bucket: Bucket, *scalars: float) -> None:
        """Changes the parameters and the slots in place."""
        raise NotImplementedError

    def advance(self, group: dict[str, Any]) -> None:
        """Moves what the rule keeps once for a whole group; most keep nothing."""

    # What a caller uses

    # In a compiled loop a step runs as it is: traced, numpy's float32 would become torch's, and the
    # counter a constant to compile anew for. Its kernels are fused or foreach ones without a compiler.
    # Not torch.compiler.disable, which imports the compiler here and now: 1.6 s.
    @torch._disable_dynamo  # type: ignore[attr-defined]
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step on the parameters' gradients, which stay as they are.

        Args:
            closure: Computes the loss anew, with its gradients.

        Returns:
            The closure's result, or None.

        Raises:
            TransferError: A gradient is sparse.
        """
        loss = None if closure is None else torch.enable_grad()(closure)()
        work = [(group, bucket) for group in self.param_groups for bucket in self._buckets(group)]
        if not work:
            return loss
        self._begin()
        clip(work)
        for group, bucket in work:
            decay, *scalars = self._scalars(group, bucket.number)
            if decay:
                torch._foreach_add_(bucket.params, bucket.params, alpha=-decay)
            self.update(group, bucket, *scalars)
        for group in self.param_groups:
            self._average(group)
            apply_constraints(group["params"])
            group["iterations"] += 1
        return loss

    def finalize_variable_values(self) -> None:
        """Makes the weights their averages, as Keras does at the end of training; nothing without ``use_ema``."""
        for group in self.param_groups:
            self._overwrite(group)

    def exclude_from_weight_decay(self, params: Iterable[Tensor] = (), names: Iterable[str] = ()) -> None:
        """Frees parameters of weight decay, by moving them into a group of their own without it.

        Call it before the groups are handed to a learning rate scheduler.

        Args:
            params: Parameters.
            names: Regular expressions; a parameter is excluded where one is found in its name. Needs
                an optimizer of ``model.named_parameters()``.

        Raises:
            TransferError: A parameter is not one of this optimizer, or a name is found in none.

        Source: Keras 3.15.1 keras/src/optimizers/base_optimizer.py, exclude_from_weight_decay.
        """
        excluded = {id(param) for param in params} | self._named(list(names))
        unknown = excluded - {id(param) for group in self.param_groups for param in group["params"]}
        if unknown:
            raise TransferError(f"{len(unknown)} of the parameters to exclude are not this optimizer's. Pass its own.")
        groups = []
        for group in self.param_groups:
            inside = [id(param) in excluded for param in group["params"]]
            kept, freed = _part(group, [not taken for taken in inside]), _part(group, inside)
            groups += [part for part in (kept, freed | {"weight_decay": None}) if part["params"]]
        self.param_groups[:] = groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, whose arguments are those of the optimizer where it sets none.

        Raises:
            TransferError: The group sets an argument that does not exist, or to what cannot be.
        """
        _check_known(param_group, self.defaults)
        others = list(self.param_groups)
        inspect.unwrap(Optimizer.add_param_group)(self, param_group)  # its wrapper imports the compiler
        group = self.param_groups[-1]
        if others:
            group["iterations"] = others[0]["iterations"]
        try:
            self.check(group)
        except TransferError:
            self.param_groups[:] = others
            raise
        if callable(group["lr"]):
            group["lr"] = float(group["lr"](group["iterations"]))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the slots, the counter and the groups' arguments; a schedule stays this optimizer's own.

        Raises:
            TransferError: The state is that of another kind of optimizer.
        """
        for group in state_dict["param_groups"]:
            missing = self.defaults.keys() - group.keys()
            if missing:
                raise TransferError(
                    f"The state is not that of {type(self).__name__}: its groups lack {', '.join(sorted(missing))}. "
                    "Load a state_dict() of the same class."
                )
        super().load_state_dict(state_dict)

    def check(self, group: Mapping[str, Any]) -> None:
        """Refuses what Keras refuses; a rule adds its own."""
        clipping = {name: group[name] for name in CLIPPING if group[name] is not None}
        if len(clipping) > 1:
            raise TransferError(f"Only one of {', '.join(CLIPPING)} can be set. Received: {clipping}")
        if not 0 <= group["ema_momentum"] <= 1:
            raise TransferError(f"ema_momentum must be within 0 and 1. Received: ema_momentum={group['ema_momentum']}")
        every = group["ema_overwrite_frequency"]
        if every is not None and not (isinstance(every, int) and every >= 1):
            raise TransferError(
                f"ema_overwrite_frequency must be a whole number from 1, or None. "
                f"Received: ema_overwrite_frequency={every}"
            )
        if group["ema_rule"] not in ("keras3", "tf_keras"):
            raise TransferError(f"ema_rule must be keras3 or tf_keras. Received: ema_rule={group['ema_rule']!r}")
        if callable(group["lr"]) and group["lr"] is not self.defaults["lr"]:
            raise TransferError("A group's lr is a number: a schedule is the lr of the whole optimizer. Pass it there.")
        if any(not param.is_floating_point() for param in group["params"]):
            raise TransferError("Parameters must be real floating-point tensors, as Keras's variables are.")

    # How it is done

    def _buckets(self, group: dict[str, Any]) -> list[Bucket]:
        """Sorts a group's parameters with gradients by device and dtype, and makes missing slots."""
        slots = self.slots(group)
        buckets: dict[Any, Bucket] = {}
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            if grad.layout is not torch.strided:
                raise TransferError(
                    f"A parameter of shape {tuple(param.shape)} has a sparse gradient ({grad.layout}), which these "
                    "rules do not take. Use sparse=False in its embedding, or torch.optim.SparseAdam for it."
                )
            key = param.device, param.dtype
            bucket = buckets.get(key)
            if bucket is None:
                bucket = buckets[key] = Bucket(number_of(param.dtype), slots={name: [] for name in slots})
            bucket.params.append(param)
            bucket.grads.append(grad)
            state = self.state[param]
            for name, first in slots.items():
                if name not in state:
                    # Through float32, as Keras's constant initializer.
                    state[name] = torch.full_like(param, first, dtype=torch.float32).to(param.dtype)
                bucket.slots[name].append(state[name])
            if group["use_ema"] and group["ema_rule"] == "tf_keras" and "average" not in state:
                state["average"] = param.clone()
        return list(buckets.values())

    def _begin(self) -> None:
        """Sets each group's learning rate from the schedule, and moves what a rule keeps per group."""
        schedule = self.defaults["lr"]
        for group in self.param_groups:
            if not group["params"]:
                continue
            if callable(schedule):
                if "initial_lr" in group:
                    raise TransferError(
                        "This optimizer's lr is a schedule, and a torch scheduler sets it too. Use one of them: "
                        "give the optimizer a number, or drop the scheduler."
                    )
                group["lr"] = float(schedule(group["iterations"]))
            with np.errstate(all="ignore"):
                self.advance(group)

    def _scalars(self, group: Mapping[str, Any], number: Number) -> list[float]:
        """Weight decay of this step, and the rule's own scalars."""
        with np.errstate(all="ignore"):
            lr = number(float(group["lr"]))
            decay = through_float32(number, group["weight_decay"] or 0.0) * lr
            return [float(decay), *map(float, self.scalars(group, number, lr, number(group["iterations"] + 1)))]

    def _average(self, group: dict[str, Any]) -> None:
        """Moves the averages; those of parameters without a gradient too."""
        if not group["use_ema"]:
            return
        by_dtype: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for param in group["params"]:
            average = self.state.get(param, {}).get("average")
            if average is None:
                if param.requires_grad:
                    self.state[param]["average"] = param.clone()
                continue
            averages, params = by_dtype.setdefault((param.device, param.dtype), ([], []))
            averages.append(average)
            params.append(param)
        for (_, dtype), (averages, params) in by_dtype.items():
            number = number_of(dtype)
            torch._foreach_lerp_(averages, params, weight=float(number(1) - number(group["ema_momentum"])))
        every = group["ema_overwrite_frequency"]
        if every and (group["iterations"] + 1) % every == 0:
            self._overwrite(group)

    @torch.no_grad()
    def _overwrite(self, group: Mapping[str, Any]) -> None:
        averaged = [param for param in group["params"] if "average" in self.state.get(param, {})]
        if averaged:
            torch._foreach_copy_(averaged, [self.state[param]["average"] for param in averaged])

    def _named(self, patterns: list[str]) -> set[int]:
        """Ids of the parameters in whose names a pattern is found."""
        if not patterns:
            return set()
        named = {
            name: id(param)
            for group in self.param_groups
            for name, param in zip(group.get("param_names", ()), group["params"], strict=False)
        }
        if not named:
            raise TransferError("The parameters have no names. Make the optimizer of model.named_parameters().")
        lost = [pattern for pattern in patterns if not any(re.search(pattern, name) for name in named)]
        if lost:
            problems = (f"{pattern}{nearest(pattern, list(named))}" for pattern in lost)
            raise TransferError(f"No parameter's name contains:{listing(problems)}")
        return {number for name, number in named.items() if any(re.search(pattern, name) for pattern in patterns)}


def _part(group: Mapping[str, Any], inside: list[bool]) -> dict[str, Any]:
    """The group with some of its parameters."""
    lists = {name: group[name] for name in ("params", "param_names") if name in group}
    chosen = {name: [x for x, taken in zip(lists[name], inside, strict=True) if taken] for name in lists}
    return {**group, **chosen}


def _check_known(group: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    known = ["params", "param_names", *defaults]
    unknown = [f"{name}{nearest(name, known)}" for name in group if name not in known]
    if unknown:
        raise TransferError(f"A parameter group sets what does not exist:{listing(unknown)}")
