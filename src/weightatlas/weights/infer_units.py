"""Modules whose inside is certain: Sequential, residual blocks, attention, feed-forward pairs, LoRA."""

from itertools import pairwise

from weightatlas.weights.axes import fix, stretch, unify
from weightatlas.weights.infer_blocks import (
    GATED,
    HIGH,
    KEY,
    LAYER,
    LOW,
    OUT,
    PACKED,
    PAIRS,
    QUERY,
    SPREAD,
    TURNED,
    VALUE,
    follows,
    is_layer,
    kind_of,
    line_of,
    names_part,
    only_layer,
    pairs_of,
    parts_of,
    shortcut_of,
)
from weightatlas.weights.infer_layers import Reader, Unit
from weightatlas.weights.infer_names import Module
from weightatlas.weights.infer_recurrent import recurrent_names, recurrent_unit


class Builder:
    """Reads a tree of modules as a list of units in canonical order."""

    def __init__(self, root: Module, reader: Reader) -> None:
        self.root, self.reader = root, reader
        self.shortcuts = {kind_of(node) for node in root.walk() if shortcut_of(node) is not None}
        self.post = self._norm_after_conv()

    def units(self, node: Module) -> list[Unit]:
        """List the units of a module; what is not recognized is taken apart."""
        for recognize in (self._lora, self._attention, self._feed_forward, self._residual):
            found = recognize(node)
            if found is not None:
                return found
        if node.numbered:
            return self._numbered(node)
        own = [] if not node.tensors else self._own(node)
        return own + [unit for child in node.ordered() for unit in self.units(child)]

    def _own(self, node: Module) -> list[Unit]:
        """Units of the tensors a module owns itself."""
        known = [n for n in node.tensors if n in LAYER or n.startswith("in_proj")]
        own = recurrent_names(node)
        if own:
            return [recurrent_unit(self.reader, node), *self.reader.loose(node, tuple(own))]
        if not known or (node is self.root and node.children):
            return self.reader.loose(node)
        unit = self.reader.unit(node)
        if unit.kind in ("loose", "token"):
            return [unit] if set(node.tensors) == {"weight", "bias"} else self.reader.loose(node)
        if unit.kind == "attention":
            return [self._close_packed(node, unit), *self.reader.loose(node, tuple(known))]
        return [unit, *self.reader.loose(node, tuple(known))]

    def _close_packed(self, node: Module, unit: Unit) -> Unit:
        """Complete torch's attention module by its output layer, which stands one level below."""
        out = node.children.pop("out_proj", None)
        if out is None:
            return unit
        last = self.reader.unit(out)
        if last.source is not None:
            fix(last.source)
        unit.out = last.out
        return unit

    def _numbered(self, node: Module) -> list[Unit]:
        """Link neighbors of a Sequential; other numbered containers are taken apart."""
        runs: list[list[tuple[int, Unit]]] = [[]]
        found: list[list[Unit]] = []
        for child in node.ordered():
            if child.children or not set(child.tensors) & LAYER:
                found += [self._run(runs[-1], node), self.units(child)]
                runs.append([])
                continue
            own = self._own(child)
            runs[-1] += [(int(child.name), unit) for unit in own]
        found.append(self._run(runs[-1], node))
        return [unit for part in found for unit in part]

    def _run(self, run: list[tuple[int, Unit]], node: Module) -> list[Unit]:
        """Join a run of layers if their numbers prove that one follows the other."""
        run = [(place, unit) for place, unit in run if unit.kind != "scale" or unit.width_in > 1]
        units = [unit for _, unit in run]
        weights = [(place, unit) for place, unit in run if unit.layers]
        gaps = all(b - a > 1 for (a, _), (b, _) in pairwise(weights))
        if len(units) < 2 or not weights or not gaps or not all(unit.source and unit.out for unit in units):
            return units
        if not all(follows(a, b) for a, b in pairwise(run)):
            return units
        for (_, before), (_, after) in pairwise(run):
            self._link(before, after)
        name = f"{units[0].name} … {units[-1].name}"
        reason = "numbers with gaps in one container: Sequential, with activations between the layers"
        self.reader.say(name, "stream", f"chain of {len(weights)} layers", "certain", reason)
        taps = [unit.out for unit in units[:-1] if unit.out is not None]
        taps = taps if len(weights) > 2 and node is not self.root else []
        last, total = units[-1], sum(unit.layers for unit in units)
        chain = Unit(name, "chain", units[0].source, last.out, last.spatial, taps=taps, layers=total)
        chain.first = next(unit.first for unit in units if unit.layers)
        return [chain]

    def _link(self, before: Unit, after: Unit) -> None:
        """Let the output of one layer be the input of the next."""
        assert before.out is not None
        assert after.source is not None
        times = after.width_in // before.width_out
        if times > 1:
            text = f"flatten of {before.width_out} channels × {times} positions"
            reason = f"{after.name} reads {after.width_in} = {before.width_out} × {times} numbers"
            self.reader.say(f"{before.name} → {after.name}", "boundary", text, "certain", reason)
        unify(stretch(before.out, times), after.source)
        if times > 1 and self.reader.channels_last:
            fix(after.source)
            self.reader.say(before.name, "group", "channels stay fixed", "unknown", TURNED)
        if after.plain_norm:
            fix(after.source)
            reason = "group norm would tie channels, layer norm would not"
            self.reader.say(after.name, "group", "channels stay fixed", "unknown", reason)
        if after.layers == 0:
            after.spatial = before.spatial and times == 1

    def _lora(self, node: Module) -> list[Unit] | None:
        """Two thin matrices: their rank can be permuted whatever they are added to."""
        low = next((child for name, child in node.children.items() if LOW.search(name)), None)
        high = next((child for name, child in node.children.items() if HIGH.search(name)), None)
        if low is None or high is None:
            return None
        leaves = only_layer(low), only_layer(high)
        if leaves[0] is None or leaves[1] is None:
            return None
        a, b = self.reader.unit(leaves[0]), self.reader.unit(leaves[1])
        if a.width_out != b.width_in:
            return None
        unify(line_of(a.out), line_of(b.source))
        rest = [child for child in node.ordered() if child is not low and child is not high]
        beside = [shape for child in rest for leaf in child.walk() for shape in leaf.tensors.values()]
        sure, reason = "certain", "two matrices that meet in the rank"
        if any(a.width_out in shape for shape in (*beside, *node.tensors.values())):
            fix(line_of(a.out))
            sure, reason = "unknown", "it stays fixed: what has this width beside them may stand between them"
        inner = [unit for child in rest for unit in self.units(child)] + self.reader.loose(node)
        self.reader.say(node.path, "group", f"LoRA of rank {a.width_out}", sure, reason)
        for line in (a.source, b.out):
            if line is not None:
                fix(line)
        return [Unit(node.path, "lora", a.source, b.out, layers=2), *inner]

    def _attention(self, node: Module) -> list[Unit] | None:
        """Queries, keys, values and an output layer; heads are unknown, so their axes stay fixed."""
        parts = parts_of(node)
        read = [parts[name] for name in parts if name in QUERY | KEY | VALUE | PACKED]
        write = [parts[name] for name in parts if name in OUT]
        kinds = {n for n in parts if n in PACKED} or {s for s in (0, 1, 2) if names_part(parts, s)}
        complete = len(read) in (1, 3) and len(write) == 1 and (len(read) == 1 or len(kinds) == 3)
        if not complete or len(read) + len(write) != len(parts):
            return None
        sources, out = [self.reader.unit(leaf) for leaf in read], self.reader.unit(write[0])
        for unit in sources:
            fix(line_of(unit.out))
        fix(line_of(out.source))
        found = [Unit(node.path, "attention", sources[0].source, out.out, layers=len(read) + 1)]
        for unit in sources[1:]:
            if unit.width_in == sources[0].width_in:
                unify(line_of(unit.source), line_of(sources[0].source))
            else:
                found.append(Unit(unit.name, "attention", unit.source, None, layers=0))
        self.reader.say(node.path, "layer", "attention", "likely", "names of queries, keys and values")
        self.reader.say(node.path, "group", "heads stay fixed", "unknown", "shapes do not tell their number")
        return found + self._rest(node, [*read, *write])

    def _rest(self, node: Module, used: list[Module]) -> list[Unit]:
        """Units of what stands in a module beside its recognized layers."""
        found = []
        for leaf in node.walk():
            if leaf.tensors and leaf not in used:
                found += self._own(leaf) if leaf is not node else self.reader.loose(leaf)
        for leaf in used:
            found += self.reader.loose(leaf, tuple(n for n in leaf.tensors if n in LAYER))
        return found

    def _feed_forward(self, node: Module) -> list[Unit] | None:
        """Two layers, or two and a gate, that meet in a hidden width nothing else has."""
        parts = {leaf.path[len(node.path) :].lstrip("."): leaf for leaf in node.walk() if is_layer(leaf)}
        for names in (*GATED, *PAIRS):
            block = names[0] in SPREAD and any("att" in name for name in node.children)
            if set(names) <= set(parts) and (len(parts) == len(names) or block):
                return self._hidden(node, [parts[name] for name in names])
        return None

    def _hidden(self, node: Module, leaves: list[Module]) -> list[Unit] | None:
        shapes = [leaf.tensors["weight"] for leaf in leaves]
        ranks = {len(shape) for shape in shapes}
        if len(ranks) > 1:
            return None
        units = [self.reader.unit(leaf) for leaf in leaves]
        *reads, last = units
        width = last.width_in
        outside = {reads[0].width_in, last.width_out}
        inside = [u for u in self._neighbors(node, leaves) if width in u]
        if any(u.width_out != width for u in reads) or width in outside or inside:
            return self._spread(node, leaves, units)
        for unit in reads:
            unify(line_of(unit.out), line_of(last.source))
            unify(line_of(unit.source), line_of(reads[0].source))
        text = f"hidden width {width} of {len(units)} layers"
        reason = "layers named as a feed-forward pair meet in a width that nothing beside them has"
        self.reader.say(node.path, "group", text, "certain", reason)
        found = Unit(node.path, "feed_forward", reads[0].source, last.out, last.spatial, layers=len(units))
        found.first = reads[0].first
        return self._spread(node, leaves, [found])

    def _spread(self, node: Module, used: list[Module], units: list[Unit]) -> list[Unit]:
        """Read the other modules of a container whose pair was taken out of it."""
        found = self.reader.loose(node) if node.tensors else []
        for child in node.ordered():
            own = [leaf for leaf in child.walk() if leaf in used]
            if own and own[-1] is used[-1]:
                found += units
            if own:
                found += self._rest(child, own) if own[0] is not child else []
            else:
                found += self.units(child)
        return found

    def _neighbors(self, node: Module, used: list[Module]) -> list[tuple[int, ...]]:
        """Shapes of tensors that stand beside a feed-forward pair, however deep; attention stands apart."""
        apart = [child for name, child in node.children.items() if "att" not in name]
        beside = [leaf for child in apart for leaf in child.walk() if leaf not in used]
        return [shape for leaf in (node, *beside) for shape in leaf.tensors.values()]

    def _residual(self, node: Module) -> list[Unit] | None:
        """conv1, bn1, conv2, bn2 (, conv3, bn3) with a shortcut here or in a block of the same kind."""
        side, body = shortcut_of(node), pairs_of(node)
        if body is None or kind_of(node) not in self.shortcuts or kind_of(node) not in self.post:
            return None
        convs = [self.reader.unit(conv) for conv, _ in body]
        norms = [self.reader.unit(norm) for _, norm in body]
        extra = self.units(side) if side is not None else []
        fits = all(a.width_out == b.width_in for a, b in pairwise(convs))
        ends = extra[0] if len(extra) == 1 else None
        start, stop = convs[0], convs[-1]
        joined = ends is not None and (ends.width_in, ends.width_out) == (start.width_in, stop.width_out)
        straight = not side and start.width_in == stop.width_out
        if not fits or not (joined or straight):
            return [*(u for pair in zip(convs, norms, strict=True) for u in pair), *extra]
        for conv, norm in zip(convs, norms, strict=True):
            self._link(conv, norm)
        for before, after in pairwise(convs):
            unify(line_of(before.out), line_of(after.source))
        for own, other in ((start.source, ends and ends.source), (stop.out, ends and ends.out)):
            if other is not None:
                unify(line_of(own), other)
        if straight:
            unify(line_of(start.source), line_of(stop.out))
        how = "through a shortcut layer" if side else "unchanged"
        reason = "the names of a residual block; a block of this kind has a shortcut"
        self.reader.say(node.path, "stream", f"residual block, its input added {how}", "certain", reason)
        count = len(convs) + (1 if side else 0)
        return [Unit(node.path, "residual", start.source, stop.out, True, "conv", layers=count)]

    def _norm_after_conv(self) -> set[str]:
        """Find the kinds of blocks whose norms follow their convs, where widths tell."""
        votes: dict[str, set[bool]] = {}
        for node in self.root.walk():
            for conv, norm in pairs_of(node) or ():
                out, reads = conv.tensors["weight"][:2]
                if out != reads:
                    after = next(iter(norm.tensors.values())) == (out,)
                    votes.setdefault(kind_of(node), set()).add(after)
        return {family for family, after in votes.items() if after == {True}}
