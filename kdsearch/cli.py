"""The terminal: parse, call `commands`, print. A mistake costs a sentence, never a traceback."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kdsearch import __version__, catalogue
from kdsearch.errors import Interrupted, KdsearchError
from kdsearch.search import storage as store

_STORAGE = click.option(
    "--storage",
    type=click.Path(file_okay=False, path_type=Path),
    default=store.DEFAULT,
    show_default=True,
    envvar="KDSEARCH_STORAGE",
    help="Folder of teachers, signals, searches and the local MLflow store.",
)
_CLUSTER = click.option(
    "--cluster",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KDSEARCH_CLUSTER",
    help="The file of a cluster that grows: cluster.yaml, or a RayJob manifest.",
)
_STUDY = click.argument("study", type=click.Path(dir_okay=False, path_type=Path))
_SEARCH = click.argument("search", required=False)


def _cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--max-concurrent",
            type=click.IntRange(min=1),
            help="Trials at once; else as many as fit.",
        ),
        click.option(
            "--checkpoints",
            metavar="PLACE",
            envvar="KDSEARCH_CHECKPOINTS",
            help="Folder or URI (s3://...) that all nodes reach; else beside the journal.",
        ),
        _CLUSTER,
        click.option("--address", help="A Ray cluster to attach to; else RAY_ADDRESS, else local."),
        _STORAGE,
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kdsearch")
def cli() -> None:
    """Find the best knowledge-distillation objective for your teacher, student and data.

    A study file names data, teacher, student and a search space in which the objective itself is a
    dimension. Start with:

    \b
      kdsearch check search_spaces/digits.yaml     see the plan, or every mistake at once
      kdsearch run search_spaces/digits.yaml       search, finals, leaderboard, report
      kdsearch ui                                  look at every run in MLflow
    """


@cli.command()
@_STUDY
@_cluster_options
@click.option(
    "--fresh", is_flag=True, help="Start anew even if this study has an unfinished search."
)
def run(study: Path, **options: Any) -> None:
    """Run STUDY from teacher to leaderboard; goes on where an unfinished run of it stopped."""
    from kdsearch import commands

    _finish(lambda console: commands.run(study, console=console, **options))


@cli.command()
@click.argument("study", type=click.Path(dir_okay=False, path_type=Path), required=False)
@_cluster_options
def resume(study: Path | None, **options: Any) -> None:
    """Go on with an unfinished search of STUDY, or with the latest one; nothing done is lost."""
    from kdsearch import commands

    _finish(lambda console: commands.resume(study, console=console, **options))


@cli.command()
@_STUDY
@click.option(
    "--address", help="The dashboard, http://HEAD:8265; else RAY_API_SERVER_ADDRESS, RAY_ADDRESS."
)
@click.option(
    "--storage",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="KDSEARCH_STORAGE",
    help="Absolute path on the cluster, best on a disk that all nodes share.  [default:"
    " KDSEARCH_STORAGE of the head, else ~/kdsearch]",
)
@click.option(
    "--working-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Folder that is uploaded; relative paths of the study start there.",
)
@click.option(
    "--max-concurrent", type=click.IntRange(min=1), help="Trials at once; else as many as fit."
)
@click.option("--fresh", is_flag=True, help="Start anew even if this study runs or is unfinished.")
@click.option("--wait/--no-wait", default=True, help="Show the job's output until it ends.")
def submit(study: Path, **options: Any) -> None:
    """Run STUDY as a Ray job; follows its running job, or goes on where an earlier one stopped.

    The same study again continues the same search, so a lost driver, head or terminal costs
    nothing. `ray job submit --working-dir . -- kdsearch run STUDY` does without the checks.
    """
    from kdsearch import commands

    commands.submit(study, console=_console(), **options)


@cli.command()
@_STUDY
@_CLUSTER
def check(study: Path, cluster: Path | None) -> None:
    """Show the plan of STUDY, or all of its mistakes; starts nothing.

    With --cluster also how many nodes it would ask for, trials per GPU, and how many at once.
    """
    from kdsearch import commands

    click.echo("\n".join(commands.check(study, cluster)))


@cli.command()
@click.argument("study", type=click.Path(dir_okay=False, path_type=Path), required=False)
@_STORAGE
@click.option("--address", help="A Ray cluster to look at; else RAY_ADDRESS, else this machine.")
@click.option(
    "--checkpoints",
    metavar="PLACE",
    envvar="KDSEARCH_CHECKPOINTS",
    help="Folder or URI (s3://...) that all nodes must reach; else it is the storage.",
)
def doctor(study: Path | None, **options: Any) -> None:
    """Check this machine, the cluster, the tracker and STUDY; says what to do.

    Each line is `ok`, `look` (it may be meant so) or `wrong`, and the exit status is 1 where
    something is wrong. With STUDY also its data and teacher: duplicates between the parts, the
    normalisation, and whether the teacher knows the data and numbers the classes alike.
    """
    from kdsearch import commands

    well = True
    for finding in commands.doctor(study, **options):
        well = well and finding.word != "wrong"
        click.echo("\n".join(finding.lines()))
    if not well:
        sys.exit(1)


@cli.command()
@_STUDY
@_STORAGE
@click.option("--most", type=click.IntRange(min=1), default=1, show_default=True)
def suggest(study: Path, storage: Path, most: int) -> None:
    """Suggest first points for STUDY from past searches on similar pairs, at most --most of each.

    \b
      kdsearch suggest study.yaml > warm.yaml

    Then `extends: warm.yaml` in the study imports them, or `extends: [base.yaml, warm.yaml]` where
    it extends another already; or paste them into it.
    """
    from kdsearch import commands

    click.echo(commands.suggest(study, storage, most), nl=False)


@cli.command()
@_STUDY
@_STORAGE
@click.option("--address", help="A Ray cluster to attach to; else RAY_ADDRESS, else local.")
@_CLUSTER
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True)
def proxy(study: Path, storage: Path, address: str | None, cluster: Path | None, top: int) -> None:
    """Rank PTLoss coefficients for STUDY by their proxy teachers; trains no student."""
    from kdsearch import commands

    ranked = commands.proxy(study, storage, address, _console(), cluster)
    click.echo("distance  epsilons   (proxy teacher to validation labels; all zeros is plain KL)")
    zeros = [pair for pair in ranked if not any(pair[1])]
    for score, epsilons in dict.fromkeys([*ranked[:top], *zeros]):
        click.echo(f"{score:8.4f}  {', '.join(f'{epsilon:.3g}' for epsilon in epsilons)}")


@cli.command()
@_STUDY
@_cluster_options
@click.option("--fresh", is_flag=True, help="Start anew even if an unfinished diagnosis is there.")
def diagnose(study: Path, **options: Any) -> None:
    """Diagnose the teacher and student of STUDY: what can be handed on, and what stands in the way.

    Shows what regularisation, class relationships and weights of examples each bring over the
    labels alone, how calibrated the teacher is, and which known failure cases the pair shows.
    """
    from kdsearch import commands

    console = _console()
    table, sentences, warnings = commands.diagnosed(
        commands.diagnose(study, console=console, **options)
    )
    console.print(table)
    for line in [*sentences, *(f"Warning: {warning}" for warning in warnings)]:
        console.print(line, markup=False, highlight=False)


@cli.command("list")
@click.argument("what", type=click.Choice([*catalogue.FOLDERS, "baselines"]))
@click.option("--teacher", help="Baselines of this teacher only.")
@click.option("--student", help="Baselines of this student only.")
@click.option("--dataset", help="Baselines on this dataset only.")
@click.option("--method", help="Baselines of this objective or method only.")
def list_(what: str, **filters: str | None) -> None:
    """List what a study can name, with settings and defaults; or the papers' published rows."""
    if what == "baselines":
        _list_baselines(**filters)
        return
    if any(filters.values()):
        raise click.UsageError("--teacher, --student, --dataset and --method are for baselines.")
    folder, _ = catalogue.FOLDERS[what]
    entries = [catalogue.describe(folder, name) for name in catalogue.names(folder)]
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.name:{width}}  {entry.summary}")
        if entry.settings:
            click.echo(f"{'':{width}}  settings: {entry.settings}")


@cli.command()
@_SEARCH
@click.option(
    "--format",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
)
@_STORAGE
def leaderboard(search: str | None, format: str, storage: Path) -> None:
    """Show the leaderboard of SEARCH, or of the latest one."""
    from kdsearch import commands

    record = commands.record(search, storage)
    if format == "table":
        _show(_console(), record)
    else:
        click.echo(commands.leaderboard(record, format), nl=False)


@cli.command()
@click.argument("run")
@_SEARCH
@_STORAGE
def show(run: str, search: str | None, storage: Path) -> None:
    """Tell the full story of RUN: a row of the leaderboard ('ttm (found)') or a training (t0012).

    Of SEARCH, or of the latest one.
    """
    from kdsearch import commands

    click.echo("\n".join(commands.show(run, search, storage)))


@cli.command()
@click.argument("run")
@_SEARCH
@_cluster_options
def reproduce(run: str, search: str | None, **options: Any) -> None:
    """Train RUN once more and say whether it comes out within its interval.

    RUN is a row of SEARCH, or of the latest one, such as 'ttm (found)'; or the id of its run in
    MLflow, which has all that is needed. Exits with 1 where it does not come out.
    """
    from kdsearch import commands

    console = _console()
    reproduced, sentences = commands.reproduce(run, search, console=console, **options)
    for line in sentences:
        console.print(line, markup=False, highlight=False)
    sys.exit(not reproduced)


@cli.command()
@_SEARCH
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("student"),
    show_default=True,
)
@click.option("--row", help="Of the leaderboard, such as 'ttm (found)'.  [default: the first]")
@click.option("--seed", type=int, help="Of that row.  [default: its first]")
@click.option("--onnx", is_flag=True, help="Also as ONNX; needs the extra `onnx`.")
@click.option("--register", metavar="NAME", help="Also as a version of this model in MLflow.")
@_STORAGE
def export(search: str | None, storage: Path, **options: Any) -> None:
    """Write the best student of SEARCH as weights, program and model card, checked."""
    from kdsearch import commands

    for made in commands.export(search, storage=storage, **options):
        click.echo(made)


@cli.command()
@_SEARCH
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
)
@click.option(
    "--also",
    type=click.Choice(["md", "csv", "parquet", "svg", "png"]),
    multiple=True,
    help="Also the leaderboard, or each figure, as a file. May be given several times.",
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Of a device-hour (a GPU's, or a CPU's where trials use none): adds the cost.",
)
@_STORAGE
def report(
    search: str | None, output: Path, also: tuple[str, ...], price: float, storage: Path
) -> None:
    """Write the report of SEARCH, or of the latest one, as one HTML file that needs no network."""
    from kdsearch import commands

    for path in commands.write_report(store.named(storage, search), output, also, price):
        click.echo(path)


@cli.command()
@_SEARCH
@_STORAGE
def rungs(search: str | None, storage: Path) -> None:
    """Show whether the rungs of SEARCH, or of the latest one, were fair; replay others for free."""
    from kdsearch import commands

    console = _console()
    tables, sentences = commands.rungs(commands.record(search, storage))
    for shown in [*tables, *sentences]:
        console.print(shown, markup=False, highlight=False)


@cli.command()
@_SEARCH
@_STORAGE
def sync(search: str | None, storage: Path) -> None:
    """Write the journal of SEARCH, or of the latest one, to MLflow; doubles nothing."""
    from kdsearch import commands

    click.echo(f"MLflow at {commands.sync(search, storage)} is up to date.")


@cli.command()
@_SEARCH
@_STORAGE
def watch(search: str | None, storage: Path) -> None:
    """Follow SEARCH, or the latest one, while it runs; Ctrl-C ends the watching alone."""
    from kdsearch import commands

    try:
        commands.watch(search, storage, _console())
    except KeyboardInterrupt:
        click.echo("Nobody watches now; the search goes on.")


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@_STORAGE
def ui(port: int, storage: Path) -> None:
    """Start MLflow's UI on this machine's loopback address; Ctrl-C ends it.

    Its store is MLFLOW_TRACKING_URI, else what the latest search's study says, else the file in
    --storage. Where that is a server already, its address is printed.
    """
    from kdsearch import commands

    commands.ui(storage, port, click.echo)


def _list_baselines(
    teacher: str | None, student: str | None, dataset: str | None, method: str | None
) -> None:
    from kdsearch import baselines

    for row in baselines.query(teacher, student, dataset, method):
        spread = "" if row.std is None else f" +- {row.std:.2f}"
        runs = f" (n={row.n})" if row.n else ""
        pair = f"{row.teacher or 'labels'} -> {row.student}"
        marks = "".join(f" [{mark}]" for mark in row.marks())
        figure = f"{row.top1:.2f}{spread}{runs}"
        click.echo(f"{figure:22} {row.method:28} {row.dataset}, {pair}; {row.source}{marks}")


def _finish(command: Callable[[Any], Any]) -> None:
    """Run a search command, then print leaderboard, answer and account."""
    from kdsearch import commands

    console = _console()
    record = command(console)
    _show(console, record)
    for line in commands.conclusion(record):
        console.print(line, markup=False, highlight=False)


def _show(console: Any, record: Any) -> None:
    from kdsearch import commands

    console.print(commands.leaderboard(record))
    if (published := commands.published(record)) is not None:
        console.print(published)


def _console() -> Any:
    from rich.console import Console

    # A table must not lose columns where the terminal's width is not known.
    return Console(width=None if sys.stdout.isatty() else 180, soft_wrap=False)


def main() -> None:
    """Entry point: kdsearch's own errors become one message and exit status 1."""
    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _stop("Stopped. What is done is kept: `kdsearch resume` goes on.")
    except Interrupted as interrupted:
        _stop(f"kdsearch: {interrupted}")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KdsearchError as error:
        click.echo(f"kdsearch: {error}", err=True)
        sys.exit(1)


def _stop(sentence: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again, it has nothing left to stop
    click.echo(sentence, err=True)
    sys.exit(130)


if __name__ == "__main__":
    main()
