"""Which open axes of a network's units must move together, and which of that is certain.

Tying all axes of one width by one permutation is right whatever the wiring, as long as every producer
and consumer of that width is known and none of them is the network's input or output: sums of equal widths,
repetitions and branches without tensors of their own keep such a permutation. So wirings that cannot be told
apart are covered by one, coarser, group; where a producer or consumer is in doubt, or where a shortcut may
add a part of another width, the axes are fixed.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from weightatlas.weights.axes import Line, fix, is_fixed, length, stretch, unify
from weightatlas.weights.infer_blocks import TURNED, pooled
from weightatlas.weights.infer_formulas import hidden_formulas
from weightatlas.weights.infer_layers import Reader, Unit
from weightatlas.weights.infer_shortcuts import unequal_sums

_HEADS = {"head", "heads", "classifier", "logits", "policy", "value", "actor", "critic", "pi", "action", "q"}
_IMAGE = 4  # a conv that reads at most so many channels reads the image


@dataclass
class Wiring:
    """What was concluded about the open axes.

    Args:
        chain: Whether all layers fit one after the other.
        free: Widths whose axes were tied.
        doubts: Width -> why its axes are fixed.
    """

    chain: bool = False
    free: set[int] = field(default_factory=set)
    doubts: dict[int, str] = field(default_factory=dict)


class Wirer:
    """Ties the open axes of units, or fixes them."""

    def __init__(self, units: list[Unit], reader: Reader) -> None:
        self.units, self.reader = units, reader
        self.main = [u for u in units if u.kind not in ("norm", "scale", "embedding", "token", "loose")]
        self.sources = [u for u in units if u.kind == "embedding"]
        wide = [[length(line) for line in u.axes if length(line) > 1] for u in units if u.kind == "loose"]
        self.unknown = max((max(sizes) for sizes in wide if len(sizes) > 1), default=0)
        attends = any(unit.kind == "attention" for unit in units)
        # Norms of a transformer are layer norms; behind convolutions other than its stem they may be others.
        self.attends = attends and not any(unit.spatial for unit in self.main[1:])
        self.flattened: list[tuple[Unit, Unit]] = []
        self.result = Wiring()

    def wire(self) -> Wiring:
        """Decide about every open axis."""
        if self.main:
            self.result.chain = self._is_chain()
            widths = self._chain_widths() if self.result.chain else self._branch_widths()
            read = {unit.width_in for unit in self.main} | {before.width_out for before, _ in self.flattened}
            sums = unequal_sums(self.main[:-1], read)
            sums |= hidden_formulas(self.units, self.reader.lines, self.attends)
            self.result.doubts |= {width: reason for width, reason in sums.items() if width in widths}
            for width in sorted(widths - set(sums)):
                self._decide(width)
        self._fix_rest()
        return self.result

    def _is_chain(self) -> bool:
        """Tell whether all layers fit one after the other, from a known input to a known output."""
        if self.unknown or any(unit.source is None or unit.out is None for unit in self.main):
            return False
        flattened = []
        for before, after in pairwise(self.main):
            times = self._flatten(before, after)
            if times == 0:
                return False
            if times > 1:
                flattened.append((before, after))
        first, last = self.main[0].width_in, self.main[-1].width_out
        if self.sources and any(unit.width_out != first for unit in self.sources):
            return False
        self.flattened = flattened
        return bool(self.sources) or first != last

    def _flatten(self, before: Unit, after: Unit) -> int:
        """Positions per channel if one unit can read the other; 0 if it cannot."""
        if before.spatial and _too_close(before.name, after.name) and after.first == "linear":
            return 0
        if before.width_out == after.width_in:
            return int(before.spatial or after.first != "conv")
        fits = before.spatial and after.first == "linear" and before.width_out > 1
        fits = fits and after.width_in % before.width_out == 0
        return after.width_in // before.width_out if fits and not pooled(before, after) else 0

    def _chain_widths(self) -> set[int]:
        widths = {unit.width_out for unit in self.main} | {unit.width_out for unit in self.sources}
        ends = {self.main[-1].width_out} | (set() if self.sources else {self.main[0].width_in})
        for width in widths & ends:
            self.result.doubts[width] = "the input or output of the network has this width"
        return widths - ends

    def _branch_widths(self) -> set[int]:
        """Widths that one unit alone writes and that no doubtful reader could read."""
        writers = self._writers()
        readers = {unit.width_in for unit in self.main if unit.source is not None}
        self._find_flatten(writers, readers)
        strangers = readers - set(writers) - {after.width_in for _, after in self.flattened}
        inputs = {u.width_in for u in self.main if u.first == "conv" and u.width_in <= _IMAGE}
        inputs |= strangers if not inputs and len(strangers) == 1 and not self.sources else set()
        if not inputs and not self.sources:
            self.result.doubts |= dict.fromkeys(writers, "which layer reads the input is unknown")
            return set()
        # What only its readers write comes from elsewhere first.
        strangers |= {width for width, makers in writers.items() if all(u.width_in == width for u in makers)}
        parts = strangers - inputs
        strange = max(self.unknown, *parts, 0)
        self._check_taps(strange)
        read = readers | {before.width_out for before, _ in self.flattened}
        ends = [u for u in self.main if u is self.main[-1] or _is_head(u)]
        lost = [u.width_out for u in self.main if u.width_out not in read and u not in ends]
        for width, makers in writers.items():
            reason = ""
            if len(makers) > 1:
                reason = f"{len(makers)} layers write this width: their sums and branches are unknown"
            elif width in inputs or width not in read or makers[0] is self.main[-1]:
                reason = "the input or output of the network may have this width"
            elif any(u.width_in == width and _too_close(makers[0].name, u.name) for u in self.main):
                reason = "a linear layer so close behind a conv reads positions, not channels"
            elif any(u.width_in == width and _unflattens(makers[0], u) for u in self.main):
                reason = "a layer of three or more axes reads features without positions"
            elif self._sums_to(width, inputs):
                reason = "several narrower outputs, put side by side, have this width too"
            elif width <= strange:
                reason = f"a layer reads {strange} numbers, which may hold these"
            elif parts:
                reason = f"a layer reads {min(parts)} numbers, which may be some of these"
            elif width < max(lost, default=0):
                reason = f"the {max(lost)} outputs of a layer are read in unknown parts"
            if reason:
                self.result.doubts[width] = reason
        return set(writers) - set(self.result.doubts)

    def _sums_to(self, width: int, inputs: set[int]) -> bool:
        """Tell whether several narrower outputs could be joined to this width."""
        parts = [u.width_out for u in self.main + self.sources if u.out is not None] + list(inputs)
        sums = {0: 0}  # sum -> most parts it takes
        for part in (part for part in parts if 0 < part < width):
            sums |= {s + part: max(n + 1, sums.get(s + part, 0)) for s, n in list(sums.items())}
            sums = {s: n for s, n in sums.items() if s <= width}
        return sums.get(width, 0) > 1

    def _writers(self) -> dict[int, list[Unit]]:
        """Units that write each width; those that read and write one and the same axis do not count."""
        found: dict[int, list[Unit]] = {}
        for unit in self.main + self.sources:
            if unit.out is not None and (unit.source is None or not _same(unit.source, unit.out)):
                found.setdefault(unit.width_out, []).append(unit)
        return found

    def _find_flatten(self, writers: dict[int, list[Unit]], readers: set[int]) -> None:
        """Pair the one conv that nobody reads with the linear layers that read a multiple of it."""
        ends = [u for width, us in writers.items() if width not in readers for u in us if u.spatial]
        linear = [u for u in self.main if u.first == "linear" and u.width_in not in writers]
        if len(ends) == 1 and len({unit.width_in for unit in linear}) == 1:
            self.flattened = [(ends[0], unit) for unit in linear if self._flatten(ends[0], unit) > 1]

    def _check_taps(self, strange: int) -> None:
        """Fix axes inside chains that a reader elsewhere may tap."""
        for unit in self.units:
            for line in unit.taps:
                if length(line) <= strange:
                    fix(line)
                    reason = f"a layer elsewhere reads {strange} numbers, which may come from inside"
                    self.reader.say(unit.name, "group", f"width {length(line)} fixed", "unknown", reason)

    def _decide(self, width: int) -> None:
        """Tie all axes of one width, unless a norm or a loose tensor speaks against it."""
        lines = [line for unit in self.main + self.sources for line in _ends(unit) if length(line) == width]
        for before, after in self.flattened:
            if before.width_out == width and before.out is not None and after.source is not None:
                unify(stretch(before.out, after.width_in // width), after.source)
        bound = {a.width_out for a, b in self.flattened if b.width_in == width} - self.result.free
        doubt = "it is a flatten of channels that are fixed" if bound else ""
        if self.reader.channels_last and any(before.width_out == width for before, _ in self.flattened):
            doubt = TURNED
        for unit in self.units:
            if unit.kind in ("norm", "scale", "token") and unit.width_out == width:
                lines.append(unit.out or ())
                if unit.plain_norm and not self.attends:
                    doubt = doubt or f"'{unit.name}' may be a group norm, which ties channels"
            elif unit.kind in ("norm", "scale") and unit.width_out % width == 0 and unit.width_out > width:
                flat = [after.source for _, after in self.flattened]  # A norm may stand in front.
                known = any(length(e) == unit.width_out for u in self.main for e in _ends(u) if e not in flat)
                doubt = doubt or ("" if known else f"'{unit.name}' normalizes {unit.width_out} numbers")
            if unit.kind == "loose" and any(length(line) == width for line in unit.axes):
                doubt = doubt or f"'{unit.name}' has an axis of this width and an unknown use"
        if doubt:
            self.result.doubts[width] = doubt
            return
        for line in lines[1:]:
            unify(lines[0], line)
        if any(is_fixed(line) for line in lines):
            self.result.doubts[width] = "one of its axes is fixed"
            return
        self.result.free.add(width)
        how = (
            "all layers fit one after the other" if self.result.chain else "one layer alone writes this width"
        )
        reason = f"{how}, and every layer that reads it is known; sums of equal widths are covered"
        names = ", ".join(u.name for u in self.main if width in (u.width_in, u.width_out))
        self.reader.say(names, "group", f"width {width} moves together", "certain", reason)
        for before, after in self.flattened:
            if before.width_out == width:
                times = after.width_in // width
                text = f"flatten of {width} channels × {times} positions"
                why = f"{after.name} reads {after.width_in} = {width} × {times} numbers"
                self.reader.say(f"{before.name} → {after.name}", "boundary", text, "certain", why)

    def _fix_rest(self) -> None:
        """Fix all open axes that were not tied, and everything they touch."""
        for unit in self.units:
            for line in (*_ends(unit), *unit.axes):
                free = length(line) in self.result.free and unit.kind != "loose"
                if not free and not self._is_flattened(unit, line):
                    fix(line)
        for width, reason in self.result.doubts.items():
            names = ", ".join(u.name for u in self.main if width in (u.width_in, u.width_out))
            if names and width > 1:
                self.reader.say(names, "group", f"width {width} stays fixed", "likely", reason)

    def _is_flattened(self, unit: Unit, line: Line) -> bool:
        """Tell whether an input axis was tied to the channels of a free width."""
        pairs = [before for before, after in self.flattened if after is unit and line is unit.source]
        return any(before.width_out in self.result.free for before in pairs)


def _is_head(unit: Unit) -> bool:
    """Tell whether a name says that a layer writes an output of the network."""
    words = unit.name.split(" ")[0].rpartition(".")[2].lower().split("_")
    top = unit.name.split(".")[0].lower().split("_")
    return bool(_HEADS & {*words, *top}) or words == ["fc"]


def _too_close(before: str, after: str) -> bool:
    """Tell whether two members of one Sequential leave no room for an activation and a flatten."""
    (parent, _, a), (other, _, b) = before.rpartition("."), after.rpartition(".")
    return parent == other and a.isdigit() and b.isdigit() and int(b) - int(a) < 3


def _unflattens(maker: Unit, reader: Unit) -> bool:
    """Tell whether what looks like a convolution reads what has no positions."""
    return reader.first == "conv" and not maker.spatial and maker.kind != "embedding"


def _ends(unit: Unit) -> list[Line]:
    return [line for line in (unit.source, unit.out) if line is not None]


def _same(first: Line, second: Line) -> bool:
    from weightatlas.weights.axes import resolve

    return resolve(first) == resolve(second)
