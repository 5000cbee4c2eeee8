"""Find the verb, run it, and turn what happens into an exit code."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class Verb(NamedTuple):
    """One entry of the command; its function is looked up only when it is called."""

    module: str
    function: str
    summary: str


VERBS = {
    "quickstart": Verb("quickstart", "quickstart", "the whole story on bundled data; ends in a report"),
    "zoo populate": Verb("zoo", "populate", "train the networks of a recipe"),
    "zoo import": Verb("zoo", "import_", "make a zoo of a folder of checkpoints"),
    "zoo info": Verb("zoo", "info", "what is in a zoo"),
    "zoo verify": Verb("zoo", "verify", "check every byte, and scores by a sample"),
    "zoo export": Verb("zoo", "export", "write networks as plain checkpoints"),
    "zoo tree": Verb("kin", "tree", "which networks were made from which"),
    "zoo dedupe": Verb("kin", "dedupe", "exact, permuted and near duplicates"),
    "fit": Verb("fit", "fit", "train an encoder on a zoo"),
    "embed": Verb("embed", "embed", "networks to embeddings"),
    "predict": Verb("predict", "predict", "accuracy and other properties from weights alone"),
    "reconstruct": Verb("reconstruct", "reconstruct", "rebuild networks from their codes"),
    "generate": Verb("generate", "generate", "new networks"),
    "interpolate": Verb("interpolate", "interpolate", "networks between two networks"),
    "optimize": Verb("optimize", "optimize", "train networks by moving their codes"),
    "inspect": Verb("inspect", "inspect", "what is this checkpoint?"),
    "compare": Verb("compare", "compare", "are two networks related, and how?"),
    "search": Verb("search", "search", "the networks of a zoo nearest to one"),
    "bench": Verb("bench", "bench", "measure an experiment beside its baselines"),
    "report": Verb("report", "report", "one HTML page of a finished run"),
}

_EXAMPLE = """Example:
  weightatlas quickstart --out runs/quickstart
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words after `weightatlas`; those of the process by default.

    Returns:
        0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or os.environ.get("WEIGHTATLAS_DEBUG", "") not in ("", "0")
    verbose = debug or "--verbose" in words
    words = [word for word in words if word not in ("--debug", "--verbose")]
    words = with_budget(words)
    if words[:1] == ["--version"]:
        from weightatlas import __version__

        print(f"weightatlas {__version__}")
        return DONE
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return DONE if words else WRONG_USAGE
    name = find(words)
    if name is None:
        return _explain(words)
    return _run(name, words[len(name.split()) :], debug, verbose)


def with_budget(words: list[str]) -> list[str]:
    """Take `--memory-budget MB` out of the words; the library and its workers find it in the environment."""
    words = apart(words, "--memory-budget")
    if "--memory-budget" not in words:
        return words
    place = words.index("--memory-budget")
    os.environ["WEIGHTATLAS_MEMORY_MB"] = "".join(words[place + 1 : place + 2])
    return words[:place] + words[place + 2 :]


def apart(words: Sequence[str], flag: str) -> list[str]:
    """Write `--flag=value` as two words, as flags are found that tyro does not know.

    Example:
        >>> apart(["fit", "--preset=small", "--out=x"], "--preset")
        ['fit', '--preset', 'small', '--out=x']
    """
    pairs = [word.split("=", 1) if word.startswith(f"{flag}=") else [word] for word in words]
    return [word for pair in pairs for word in pair]


def find(words: Sequence[str]) -> str | None:
    """Return the verb the words begin with, or none."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name
    return None


def overview() -> str:
    """Write the help of the whole command, an example first."""
    width = max(map(len, VERBS)) + 2
    lines = [f"  {name:<{width}}{verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            _EXAMPLE,
            "weightatlas VERB ...: trained neural networks as data.",
            "",
            "Verbs:",
            *lines,
            "",
            "weightatlas VERB --help explains one of them.",
            "Everywhere: --memory-budget MB bounds what weights and activations may take (default 2048).",
            "Everywhere: --debug shows full tracebacks, --verbose what the library logs.",
            "Exit codes: 0 done, 1 failed, 2 wrong usage.",
        ]
    )


def _explain(words: Sequence[str]) -> int:
    """Say why there is no such verb, or list the verbs of a family such as `zoo`."""
    family = [name for name in VERBS if name.startswith(f"{words[0]} ")]
    if family and (len(words) == 1 or words[1] in ("-h", "--help")):
        width = max(map(len, family)) + 2
        example = f"Example:\n  weightatlas {family[0]} --help\n"
        print("\n".join([example, *(f"  {name:<{width}}{VERBS[name].summary}" for name in family)]))
        return DONE if len(words) > 1 else WRONG_USAGE
    wanted = " ".join(words[:2]) if family else words[0]
    near = get_close_matches(wanted, family or [*VERBS, "zoo"], n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    print(f"There is no verb '{wanted}'.{hint}\nAll verbs: weightatlas --help", file=sys.stderr)
    return WRONG_USAGE


def _run(name: str, words: list[str], debug: bool, verbose: bool) -> int:
    """Call a verb and translate its errors."""
    from weightatlas import progress
    from weightatlas.cli import console
    from weightatlas.cli.arguments import WrongUsage, call
    from weightatlas.cli.several import is_unspoken, one_voice
    from weightatlas.errors import WeightAtlasError

    verb = VERBS[name]
    progress.enable()
    console.log_to_stderr(verbose)
    try:
        with one_voice(name):
            module = import_module(f"weightatlas.cli.{verb.module}")
            function = getattr(module, verb.function)
            if hasattr(module, "prepare"):  # A verb whose flags depend on its first word.
                function, name, words = module.prepare(words)
            return call(function, name, words)
    except WeightAtlasError as error:
        if debug:
            raise
        if not is_unspoken(error):
            console.print_error(error)
        return WRONG_USAGE if isinstance(error, WrongUsage) else FAILED
    except KeyboardInterrupt as error:
        if not is_unspoken(error):
            console.say("Interrupted. Run the same command to continue.")
        return INTERRUPTED
    except BrokenPipeError:  # The reader of a pipe has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
