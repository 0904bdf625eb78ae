"""Programs: a graph of operations on tensors as a file of weights and names, of which nothing is code.

What `torch.export.save` writes may hold pickles and expressions that are evaluated when it is loaded, and a library
may come from a stranger. Here an operation is one of torch's `aten` or of a few on numbers, called by its name with
numbers and results of those before; no argument is a text but the few that operations know.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mmsearch.errors import UnsupportedModelError

if TYPE_CHECKING:
    import torch

_PROGRAM = "program"  # the key of the metadata that the operations stand under
_ON_NUMBERS = ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem")
_WORDS = ("none", "tanh", "floor", "trunc", "constant", "reflect", "replicate", "circular")  # name no files
_CHECKS = ("aten._assert", "aten.sym_constrain")

_Step: TypeAlias = tuple[str, Callable[..., Any], list[Any], dict[str, Any]]


def save_program(module: Any, path: Path) -> None:
    """Write the graph of an exported module that takes one tensor and gives one.

    Parameters
    ----------
    module : torch.fx.GraphModule
        As `torch.export` gives it. Checks of what is given are left out of its graph.
    path : Path
        Of the new file.

    Raises
    ------
    UnsupportedModelError
        If it computes by something that has no place in such a file.
    """
    from safetensors.torch import save_file

    _leave_out_checks(module.graph)
    steps, weights, given, result = [], {}, "", ""
    for node in module.graph.nodes:
        if node.op == "get_attr":
            weights[node.name] = operator.attrgetter(node.target)(module).detach().clone().contiguous()
        elif node.op == "placeholder":
            given = node.name
        elif node.op == "output":
            result = node.args[0][0].name
        else:
            kwargs = {key: _written(value) for key, value in node.kwargs.items()}
            steps.append([node.name, _name_of(node), _written(node.args), kwargs])
    program = {"given": given, "steps": steps, "result": result}
    save_file(weights, path, metadata={_PROGRAM: json.dumps(program)})


def load_program(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what computes by a program in a file.

    Raises
    ------
    UnsupportedModelError
        If it names something else than operations on tensors.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        program = json.loads(file.metadata()[_PROGRAM])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    given, result = program["given"], program["result"]
    steps: list[_Step] = [
        (name, _operation(target), _read(args), {str(key): _read(value) for key, value in kwargs.items()})
        for name, target, args, kwargs in program["steps"]
    ]
    unused = _unused_after(steps, {*weights, result})

    def run(tensor: torch.Tensor) -> torch.Tensor:
        values = {**weights, given: tensor}
        for (name, operation, args, kwargs), over in zip(steps, unused, strict=True):
            values[name] = operation(*_filled(args, values), **_filled(kwargs, values))
            for each in over:
                del values[each]
        tensor = values[result]
        return tensor

    return run


class _Result(str):
    """The name of a weight, of what is given, or of a step whose result is meant."""

    __slots__ = ()


def _leave_out_checks(graph: Any) -> None:
    for node in reversed(graph.nodes):
        if node.op == "call_module" or str(node.target).startswith(_CHECKS):
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _name_of(node: Any) -> str:
    """Return the name of an operation, by which `_operation` finds it."""
    import torch

    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return str(target)
    if getattr(target, "__name__", None) in _ON_NUMBERS and getattr(operator, target.__name__) is target:
        return f"operator.{target.__name__}"
    raise _no_place_for(target)


def _operation(name: str) -> Callable[..., Any]:
    """Return the operation that a name stands for."""
    import torch

    kind, *parts = name.split(".")
    if kind == "operator" and len(parts) == 1 and parts[0] in _ON_NUMBERS:
        known: Callable[..., Any] = getattr(operator, parts[0])
        return known
    if kind == "aten" and len(parts) == 2:
        operation = getattr(getattr(torch.ops.aten, parts[0]), parts[1])
        if isinstance(operation, torch._ops.OpOverload):
            return operation
    raise _no_place_for(name)


def _written(value: Any) -> Any:
    """Return an argument as JSON has it."""
    import torch

    if isinstance(value, torch.fx.Node):
        return {"result": value.name}
    if isinstance(value, (list, tuple)):
        return [_written(each) for each in value]
    if isinstance(value, torch.device):
        return {"torch": "cpu"}
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return {"torch": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, (bool, int, float)) or value in _WORDS:
        return value
    raise _no_place_for(value)


def _read(value: Any) -> Any:
    """Return an argument that JSON has, with results by name."""
    import torch

    if isinstance(value, list):
        return [_read(each) for each in value]
    if isinstance(value, dict):
        ((kind, name),) = value.items()
        if kind == "result":
            return _Result(name)
        constant = torch.device("cpu") if name == "cpu" else getattr(torch, name)
        if isinstance(constant, (torch.device, torch.dtype, torch.layout, torch.memory_format)):
            return constant
    elif value is None or isinstance(value, (bool, int, float)) or value in _WORDS:
        return value
    raise _no_place_for(value)


def _filled(value: Any, values: dict[str, Any]) -> Any:
    """Return arguments with results in the place of their names."""
    if isinstance(value, _Result):
        return values[value]
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    return value


def _unused_after(steps: list[_Step], kept: set[str]) -> list[list[str]]:
    """Return for each step what no later one needs, so that its memory is free."""
    seen, unused = set(kept), []
    for name, _, args, kwargs in reversed(steps):
        over = {str(each) for each in (name, *_results_in([args, list(kwargs.values())]))} - seen
        seen |= over
        unused.append(sorted(over))
    return unused[::-1]


def _results_in(value: Any) -> Iterator[_Result]:
    if isinstance(value, _Result):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _results_in(each)


def _no_place_for(what: object) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"a program of operations on tensors has no place for {str(what)[:100]!r}; use --precision fp32 or int8"
    )
