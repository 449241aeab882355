"""Whether a graph is admitted: its operators, and how large they make its tensors.

Dims are followed from the inputs through every operator, so that a graph which would need absurd
memory or work is refused, not tried. ONNX Runtime computes what follows from constants alone while
it loads a model; so that has a limit of its own.
"""

from __future__ import annotations

from math import prod

from models.graph import admitted, layouts
from models.graph.admitted import ADMITTED
from models.graph.messages import Graph, Node, quoted, read
from models.graph.step import Step
from models.graph.tensors import FLOAT, FLOATS, Tensor, bounded
from models.graph.values import followed
from models.protobuf import FormatError

MAX_TOTAL = 2**31  # elements of everything that a run puts out, one after another
MAX_UNFOLDED = 2**27  # elements read and put out by what follows from constants alone
MAX_WORK = 2**42  # multiplications of a run: minutes, for a part that has milliseconds
_MAX_WORDS = 300


def check(view: memoryview) -> None:
    """Read a GraphProto and weigh it; FormatError with one reason where it is not admitted."""
    weighed(read(view))


def weighed(graph: Graph) -> dict[str, Tensor]:
    """Every tensor of a graph by name; FormatError for an operator or a size not admitted."""
    known = graph.inputs | graph.constants
    for name in graph.inputs.keys() & graph.constants.keys():
        if graph.inputs[name].dims != graph.constants[name].dims:
            raise FormatError(f"input {quoted(name)}: its initialiser is of another size")
    total = unfolded = work = 0
    for node in graph.nodes:
        step, outputs, multiplications = _weigh(node, known)
        count = sum(tensor.count for tensor in outputs)
        work += multiplications
        if outputs[0].constant:
            unfolded += count + sum(tensor.count for tensor in step.given if tensor is not None)
        else:
            total += count
        for name, tensor in zip(node.outputs, outputs, strict=False):
            if name in known:
                raise FormatError(f"tensor {quoted(name)}: put out twice")
            if name:
                known[name] = tensor
    for amount, most, what in (
        (total, MAX_TOTAL, "elements in all"),
        (unfolded, MAX_UNFOLDED, "elements that follow from constants"),
        (work, MAX_WORK, "multiplications a run"),
    ):
        if amount > most:
            raise FormatError(f"more than {most} {what}")
    if missing := graph.outputs.keys() - known.keys():
        raise FormatError(f"output {quoted(min(missing))}: no operator puts it out")
    return known


def _weigh(node: Node, known: dict[str, Tensor]) -> tuple[Step, list[Tensor], int]:
    """An operator with its inputs, what it puts out, and its multiplications."""
    if node.operator not in ADMITTED:
        raise FormatError(f"operator {quoted(node.operator)} is not admitted")
    title = f"{node.operator} {quoted(node.name)}"
    step = _step(title, node, known)
    try:
        outputs = _outputs(step)
        return step, outputs, _work(step, outputs)
    except FormatError as fault:
        raise FormatError(f"{title}: {str(fault)[:_MAX_WORDS]}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A rule takes a well-formed operator for granted; anything else is this line.
        raise FormatError(f"{title}: malformed: {quoted(str(error))}") from None


def _step(title: str, node: Node, known: dict[str, Tensor]) -> Step:
    """An operator with what it is given, if it may have that."""
    for name in node.inputs:
        if name and name not in known:
            raise FormatError(f"{title}: {quoted(name)} comes from nowhere before it")
    if node.inputs and not node.inputs[-1] and node.operator != "Clip":
        # Nobody needs it, and ONNX Runtime 1.31 dies of it in some operators.
        raise FormatError(f"{title}: its last input is left out; let it end before")
    step = Step(node, tuple(known[name] if name else None for name in node.inputs))
    if node.operator in admitted.HEAVY and _follows(step):
        raise FormatError(f"{title}: works on constants alone; fold them")
    return step


def _follows(step: Step) -> bool:
    """Whether nothing but constants goes in."""
    return all(tensor is None or tensor.constant for tensor in step.given)


def _outputs(step: Step) -> list[Tensor]:
    """The tensors that an operator puts out."""
    operator = step.node.operator
    for place in range(admitted.LEAST_INPUTS.get(operator, 0)):
        step.tensor(place)
    _check_division(step)
    found = ADMITTED[operator](step)
    values = followed(step)
    constant = _follows(step) or values is not None
    first = Tensor(bounded("output", found[0], least=1), _element(step), values, constant)
    if values is not None and len(values) != first.count:
        raise FormatError(f"{len(values)} numbers for {first.count} places")
    tensors = [first]
    for place in range(1, len(step.node.outputs)):
        dims = bounded("output", found[min(place, len(found) - 1)], least=1)
        second = admitted.TYPED_SECOND.get(operator, first.element)
        tensors.append(Tensor(dims, second, None, constant))
    return tensors


def _element(step: Step) -> int:
    node, value = step.node, step.node.attributes.get("value")
    if node.operator == "Cast":
        return step.integer("to", 0)
    if isinstance(value, Tensor):  # of Constant and ConstantOfShape
        return value.element
    if node.operator == "Constant":
        return layouts.constant_of(node.attributes).element
    if node.operator == "ConstantOfShape":
        return FLOAT
    place = admitted.TYPED_AS.get(node.operator, 0)
    if step.has(place) and (place or node.operator not in admitted.TYPED):
        return step.tensor(place).element
    return admitted.TYPED.get(node.operator, FLOAT)


def _check_division(step: Step) -> None:
    """A processor stops a program that divides whole numbers by 0, or the least one by -1."""
    if step.node.operator in ("Div", "Mod") and step.tensor(0).element not in FLOATS:
        divisors = step.tensor(1).values
        if divisors is None or min(divisors) < 1:
            raise FormatError("whole numbers are divided by known numbers above 0 only")


def _work(step: Step, outputs: list[Tensor]) -> int:
    """Multiplications of an operator, about."""
    operator = step.node.operator
    if operator not in admitted.HEAVY:
        return 0
    if operator in admitted.POOLS:
        return outputs[0].count * prod(step.integers("kernel_shape") or ())
    if operator in admitted.RECURRENCES:
        steps, batch, _ = step.dims()
        return steps * batch * (step.tensor(1).count + step.tensor(2).count)
    weight = step.tensor(3 if operator.removeprefix(admitted.MS).startswith("Q") else 1)
    if operator in admitted.CONVOLUTIONS:
        places = step.tensor(0) if operator == "ConvTranspose" else outputs[0]
        return places.count * weight.count // weight.dims[0]
    return outputs[0].count * max(weight.dims, default=1)
