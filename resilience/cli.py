"""The command line: a thin front door to the annual run."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import ResilienceError, ResilienceWarning
from resilience.i18n import LANGUAGES, text

if TYPE_CHECKING:
    from resilience.pipeline.annual import AnnualResults

__all__ = ["main"]

BAD_INPUT = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resilience",
        description=text("cli.description"),
        epilog=text("cli.description").ru,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help=text("cli.run"), description=text("cli.run"))
    run.add_argument("source", help=text("cli.source"))
    demo = commands.add_parser("demo", help=text("cli.demo"), description=text("cli.demo"))
    demo.add_argument("--dataset", default="north_region", help=text("cli.dataset"))
    for command, folder in ((run, "out"), (demo, "demo-out")):
        command.add_argument("-o", "--output", default=folder, help=text("cli.output"))
        command.add_argument("--as-of", default=None, metavar="DATE", help=text("cli.as_of"))
        command.add_argument("--lang", choices=LANGUAGES, default=None, help=text("cli.lang"))
        command.add_argument("--no-figures", action="store_true", help=text("cli.no_figures"))
    template = commands.add_parser(
        "template", help=text("cli.template"), description=text("cli.template")
    )
    template.add_argument("-o", "--output", required=True, help=text("cli.template_output"))
    template.add_argument("--lang", choices=LANGUAGES, default="ru", help=text("cli.lang"))
    template.add_argument("--example", action="store_true", help=text("cli.example"))
    template.add_argument("--overwrite", action="store_true", help=text("cli.overwrite"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those of the process by default.

    Returns
    -------
    int
        0, or 2 where the input, the configuration or the output place is at fault; the message
        goes to standard error in the language of the run, and nothing is left behind.
    """
    for stream in (sys.stdout, sys.stderr):
        # a Windows console may not be able to print Cyrillic in its own encoding
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    lang = options.lang or "en"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResilienceWarning)
            if options.command == "template":
                _template(options)
            else:
                lang = _run(options)
        _tell(caught, lang)
    except ResilienceError as error:
        head = text("cli.error").localized(_language(options, lang))
        print(f"{head}: {error.localized(_language(options, lang))}", file=sys.stderr)
        return BAD_INPUT
    return 0


def _language(options: argparse.Namespace, lang: str) -> str:
    """Return the language of messages: as asked, else Russian for a workbook, else English."""
    if options.lang is not None:
        return str(options.lang)
    source = str(getattr(options, "source", ""))
    return "ru" if source.lower().endswith((".xlsx", ".xlsm")) else lang


def _template(options: argparse.Namespace) -> None:
    from resilience.data.template import write_template

    path = write_template(
        Path(options.output),
        lang=options.lang,
        example=options.example,
        overwrite=options.overwrite,
    )
    print(text("cli.template_written", path=path.name).localized(options.lang))


def _run(options: argparse.Namespace) -> str:
    from resilience.data.outputs import check_place
    from resilience.pipeline.annual import annual_run
    from resilience.pipeline.inputs import dataset_config
    from resilience.reporting.annual import write_annual_run

    # before the work, so that nobody waits for a run that cannot be written
    check_place(Path(options.output) / "manifest.json")
    source = dataset_config(options.dataset) if options.command == "demo" else options.source
    lang = str(options.lang or ("ru" if options.command == "demo" else ""))
    with _Progress() as progress:
        results = annual_run(source, as_of=options.as_of, progress=progress.step, lang=lang or None)
        lang = lang or results.lang
        paths = write_annual_run(
            results,
            Path(options.output),
            lang=lang,
            figures=results.figures and not options.no_figures,
            progress=progress.step,
        )
    _print_lists(results, lang)
    print(text("annual.written", n=len(paths), folder=options.output).localized(lang))
    return lang


class _Progress:
    """Show the steps of a run on standard error, a bar where it is a terminal."""

    N_STEPS = 7

    def __enter__(self) -> _Progress:
        from tqdm import tqdm

        self._bar = tqdm(
            total=self.N_STEPS,
            file=sys.stderr,
            disable=None,  # silent where standard error is not a terminal
            bar_format="{n_fmt}/{total_fmt} {bar} {desc}",
        )
        return self

    def step(self, line: str) -> None:
        """Show the next step."""
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(1)

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def _print_lists(results: AnnualResults, lang: str) -> None:
    from resilience.results import format_table

    lists = results.found.lists
    titles = {rule.id: rule.title(lang) for rule in results.found.rules}
    shown = lists.assign(rule_id=[titles[str(r)] for r in lists["rule_id"]])
    columns = ["rule_id", "n_listed", "n_not_listed", "n_insufficient", "n_not_applicable"]
    print(format_table(shown[columns], lang).to_string(index=False))
    for note in results.notes:
        print(f"* {note.localized(lang)}")


def _tell(caught: Sequence[warnings.WarningMessage], lang: str) -> None:
    """Print our own warnings once each, in the reader's language; pass others on."""
    seen: set[str] = set()
    for item in caught:
        message = item.message
        if isinstance(message, ResilienceWarning):
            line = message.localized(lang)
            if line not in seen:
                head = text("cli.warning").localized(lang)
                print(f"{head}: {line}", file=sys.stderr)
                seen.add(line)
        else:
            warnings.warn_explicit(message, item.category, item.filename, item.lineno)


if __name__ == "__main__":
    raise SystemExit(main())
