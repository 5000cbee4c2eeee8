"""Networks found in checkpoint files, each with the layout it will have in the zoo."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from weightatlas.errors import SpecError, WeightAtlasError
from weightatlas.symmetry.verify import without_groups
from weightatlas.weights.family import family_of, only_data
from weightatlas.weights.files import StoredNetwork, read_checkpoint
from weightatlas.weights.infer import Inferred, infer
from weightatlas.weights.spec import NetworkSpec
from weightatlas.weights.vector import check

_TYPES = ("float32", "float16", "bfloat16", "float64")
Shapes = frozenset[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network of a file that may enter the zoo.

    Args:
        path: The file.
        stored: The network as it was read.
        format: Kind of file.
        state: Its tensors under the names of `spec`.
        spec: Its layout, with its own names.
    """

    path: Path
    stored: StoredNetwork
    format: str
    state: Mapping[str, Tensor]
    spec: NetworkSpec


class Chooser:
    """Decides which networks of files enter the zoo, and with which layout.

    Args:
        spec: The layout all must have, or none to take whatever there is and infer it.
    """

    def __init__(self, spec: NetworkSpec | None = None) -> None:
        self.spec = spec
        self.families: dict[str, str] = {}
        self._inferred: dict[tuple[Shapes, tuple[str, ...], bool], Inferred] = {}

    def choose(self, path: Path) -> Iterator[Candidate | tuple[Path, str]]:
        """Yield the networks of a file, or a place in it and why it is left out."""
        try:
            checkpoint = read_checkpoint(path)
        except WeightAtlasError as error:
            yield path, error.what
            return
        found: list[Candidate | tuple[Path, str]] = []
        for stored in checkpoint.networks:
            place = Path(f"{path}:{stored.name}") if stored.name else path
            try:
                found.append(self._one(path, stored, checkpoint.format))
            except WeightAtlasError as error:
                found.append((place if len(checkpoint.networks) > 1 else path, error.what))
            except Exception as error:  # One network that is not understood must not stop a whole folder.
                what = f"was read, but not understood: {type(error).__name__}: {error}"
                found.append((place if len(checkpoint.networks) > 1 else path, what))
        taken = [one for one in found if isinstance(one, Candidate)]
        if self.spec is not None and not taken and len(found) > 1:
            reasons = "; ".join(one[1] for one in found if isinstance(one, tuple))
            found = [(path, f"none of its {len(found)} networks fits: {reasons}")]
        yield from found

    def _one(self, path: Path, stored: StoredNetwork, format: str) -> Candidate:
        """Bring one network to its layout.

        Raises:
            SpecError: It does not fit the wanted layout, or nothing in it can be kept.
            DataError: Some values are not finite.
        """
        foreign = {
            str(t.dtype).removeprefix("torch.") for t in stored.tensors.values() if t.is_floating_point()
        }
        if strange := sorted(foreign - set(_TYPES)):
            raise SpecError(f"it holds {', '.join(strange)} numbers, which a zoo cannot give back")
        if self.spec is not None:
            state = stored.under(tensor.name for tensor in self.spec.tensors)
            check(state, self.spec, finite=True)
            return Candidate(path, stored, format, state, self.spec)
        spec = self._infer(stored, format)
        check(stored.tensors, spec, finite=True)
        return Candidate(path, stored, format, stored.tensors, spec)

    def _infer(self, stored: StoredNetwork, format: str) -> NetworkSpec:
        """Infer a layout, once per set of names and shapes, and graph if there is one."""
        state, last = stored.tensors, stored.channels_last
        shapes = frozenset((name, tuple(t.shape)) for name, t in state.items() if t.is_floating_point())
        key = shapes, tuple(step.model_dump_json() for step in stored.graph), last
        if key not in self._inferred:
            self._inferred[key] = infer(state, graph=stored.graph, channels_last=last)
        inferred = self._inferred[key]
        if reason := only_data(inferred, format):
            raise SpecError(reason)
        aliases = [(t.name, alias) for t in inferred.spec.tensors for alias in t.aliases]
        if any(state[a].data_ptr() != state[b].data_ptr() for a, b in aliases):
            inferred = infer(dict(sorted(shapes)), channels_last=last)
        self.families.setdefault(inferred.spec.layout_id, family_of(inferred).name)
        return inferred.spec


def common(first: NetworkSpec, other: NetworkSpec) -> NetworkSpec:
    """Keep the groups of a layout that another spec of the same layout has, too.

    Networks with equal shapes and roles but other names may have been inferred differently; only what
    is certain for both may be permuted.

    Example:
        >>> from weightatlas.weights.infer import infer
        >>> spec = infer({"0.weight": (4, 3), "2.weight": (2, 4)}).spec
        >>> common(spec, spec) is spec
        True

    Args:
        first: The layout whose names are kept.
        other: A spec with the same layout id.
    """
    known = set(_uses(other))
    return without_groups(first, [group for group, use in enumerate(_uses(first)) if use not in known])


def _uses(spec: NetworkSpec) -> list[frozenset[tuple[int, int, int, int]]]:
    """Where each group acts: tensor, axis, first entry, positions per member."""
    found: list[set[tuple[int, int, int, int]]] = [set() for _ in spec.groups]
    for index, tensor in enumerate(spec.tensors):
        for axis, segments in enumerate(tensor.axes):
            start = 0
            for segment in segments:
                if segment.group is not None:
                    found[segment.group].add((index, axis, start, segment.positions))
                start += segment.size
    return [frozenset(use) for use in found]
