"""The command ``mvssl``: arguments in, one call out."""

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from inspect import getdoc, signature
from typing import Any

from mvssl.registry import Registry

SUBCOMMANDS = {
    "compare": "Compare pretexts with each other and with baselines; writes report.html.",
    "report": "Make one report of several finished comparisons.",
    "pretrain": "Train one encoder with one pretext.",
    "evaluate": "Judge a pre-trained encoder, or embeddings, with few labels.",
    "inspect": "Look into a pre-trained encoder: robustness, retrieval, geometry, layers, causes.",
    "views": "Write views of one file, to listen to and to look at.",
    "data": "Published corpora: list, info, download, verify, prepare.",
    "list": "List what is registered: pretexts, encoders, view chains, probes, protocols, corpora, …",
}

REPEATED = {
    "evaluate": {
        "task": "Corpus with labels: its name, folder or manifest, with the field that holds the labels "
        "behind a colon if they are no tags. May be given several times. (default: synthetic)"
    }
}
"""Options that may be given several times."""


def list_names(kind: str = "pretexts") -> None:
    """Prints what is registered, a line each.

    Args:
        kind: pretexts, encoders, frontends, chains, samplers, tasks, probes, protocols or corpora.
    """
    from mvssl.data import corpora
    from mvssl.encoders import encoders
    from mvssl.evaluation.probes import probes
    from mvssl.evaluation.protocols import protocols
    from mvssl.evaluation.tasks import tasks
    from mvssl.frontends import frontends
    from mvssl.pretext import pretexts
    from mvssl.views import chains, samplers

    registries: dict[str, Registry[Any]] = {
        "pretexts": pretexts,
        "encoders": encoders,
        "frontends": frontends,
        "chains": chains,
        "samplers": samplers,
        "tasks": tasks,
        "probes": probes,
        "protocols": protocols,
        "corpora": corpora,
    }
    if kind not in registries:
        raise ValueError(f"cannot list {kind!r}: choose from {', '.join(registries)}")
    registry = registries[kind]
    for name in registry.names():
        entry = registry.entry(name)
        print(f"{name:16} {entry.summary}{f' [{entry.paper}]' if entry.paper else ''}")


def _add_data_actions(parser: Any) -> None:
    """Adds what stands behind ``mvssl data``."""
    from jsonargparse import ArgumentParser

    from mvssl.data.commands import ACTIONS

    actions = parser.add_subcommands(required=True)
    for name, function in ACTIONS.items():
        summary = getdoc(function) or ""
        action = ArgumentParser(description=summary.split("\n\n")[0])
        if "sources" in signature(function).parameters:
            action.add_argument(
                "sources", nargs="+", help="Names of corpora; NAME@FOLDER if not in MVSSL_DATA."
            )
        action.add_function_arguments(function, as_positional=True, skip={"sources"})
        actions.add_subcommand(name, action, help=summary.splitlines()[0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: What stands behind ``mvssl``; by default, what the shell gave.
    """
    from jsonargparse import ArgumentParser

    from mvssl import __version__
    from mvssl.compare import compare, merged_report
    from mvssl.data.commands import run_action
    from mvssl.distributed import rank
    from mvssl.evaluation.files import evaluate_files
    from mvssl.evaluation.inspection import inspect_files
    from mvssl.sheet import write_views
    from mvssl.training import pretrain

    parser = ArgumentParser(prog="mvssl", description="Self-supervised, multi-view pre-training on music.")
    parser.add_argument("--version", action="version", version=f"mvssl {__version__}")
    commands = parser.add_subcommands(required=True)
    functions: dict[str, Callable[..., Any]] = {
        "compare": compare, "pretrain": pretrain, "evaluate": evaluate_files,
        "inspect": inspect_files, "views": write_views,
    }  # fmt: skip
    for name, function in functions.items():
        command = ArgumentParser(description=(getdoc(function) or "").split("\n\n")[0])
        command.add_argument("--config", action="config", help="YAML file with these arguments.")
        repeated = REPEATED.get(name, {})
        command.add_function_arguments(function, as_positional=True, skip=set(repeated))
        for option, explained in repeated.items():
            command.add_argument(f"--{option}", action="append", help=explained)
        commands.add_subcommand(name, command, help=SUBCOMMANDS[name])
    reporter = ArgumentParser(description=SUBCOMMANDS["report"])
    reporter.add_argument("runs", nargs="+", help="Folders that mvssl compare wrote, of the same corpus.")
    reporter.add_argument("--out", default="mvssl-report", help="Folder for the report.")
    commands.add_subcommand("report", reporter, help=SUBCOMMANDS["report"])
    functions["report"] = merged_report
    data = ArgumentParser(description=SUBCOMMANDS["data"])
    commands.add_subcommand("data", data, help=SUBCOMMANDS["data"])
    _add_data_actions(data)
    lister = ArgumentParser(description=SUBCOMMANDS["list"])
    kinds = [
        "pretexts",
        "encoders",
        "frontends",
        "chains",
        "samplers",
        "tasks",
        "probes",
        "protocols",
        "corpora",
    ]
    lister.add_argument("kind", choices=kinds)
    commands.add_subcommand("list", lister, help=SUBCOMMANDS["list"])
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    chosen = given[given.subcommand].as_dict()
    chosen.pop("config", None)
    for option in REPEATED.get(given.subcommand, {}):
        if chosen[option] is None:
            del chosen[option]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if given.subcommand == "list":
                list_names(**chosen)
            elif given.subcommand == "pretrain":
                result = pretrain(**chosen)
                if rank() == 0:
                    made = f"{result.steps} steps, {result.views} views in {result.seconds:.0f} s"
                    print(f"{chosen['out']}: {made}")
            elif given.subcommand == "evaluate":
                print(*evaluate_files(**chosen), sep="\n\n")
            elif given.subcommand == "data":
                report, is_well = run_action(chosen["subcommand"], chosen[chosen["subcommand"]])
                print(report)
                if not is_well:
                    raise SystemExit(1)
            else:
                print(functions[given.subcommand](**chosen))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"mvssl: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(
            "mvssl: interrupted; the same line (pretrain: with --resume true) goes on from here",
            file=sys.stderr,
        )
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
