"""What the terminal can do, as library calls: each command of `kdsearch` is one of these.

from kdsearch import commands
record = commands.run("search_spaces/digits.yaml")
print(commands.leaderboard(record, "markdown"))
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from kdsearch import __version__
from kdsearch.errors import SearchError
from kdsearch.files import write_atomically
from kdsearch.progress import Display
from kdsearch.reporting import diagnosis, files, html, reproduction
from kdsearch.reporting import published as papers
from kdsearch.reporting.account import account
from kdsearch.reporting.knowledge import knowledge
from kdsearch.reporting.leaderboard import (
    HEADINGS,
    as_csv,
    as_json,
    as_markdown,
    cells,
)
from kdsearch.reporting.leaderboard import leaderboard as rows_of
from kdsearch.reporting.rungs import REPLAY_HEADINGS, REPLAY_NOTE, RUNG_HEADINGS, Curves
from kdsearch.reporting.selection import selection
from kdsearch.reporting.standings import standings
from kdsearch.reporting.story import story
from kdsearch.search import storage as store
from kdsearch.tracking import Conclusion, Journal, Outcomes, Record
from kdsearch.tracking import ui as server
from kdsearch.tracking.fetching import fetch
from kdsearch.tracking.follower import MlflowFollower
from kdsearch.tracking.follower import sync as write_to_mlflow
from kdsearch.tracking.mlflow import tracking_uri
from kdsearch.watching import follow

if TYPE_CHECKING:  # torch and Ray take seconds to import, and looking at results needs neither
    from kdsearch.doctor import Finding
    from kdsearch.search.study import Study


def run(
    study: "Study | str | Path",
    storage: Path = store.DEFAULT,
    address: str | None = None,
    max_concurrent: int | None = None,
    fresh: bool = False,
    console: Console | None = None,
    cluster: Path | None = None,
    checkpoints: str | None = None,
) -> Record:
    """Run a study to its leaderboard, or go on with its unfinished search.

    Args:
        study: a study, or the path of its file.
        storage: folder of teachers, signals, searches and the local MLflow store.
        address: a Ray cluster; else RAY_ADDRESS; else Ray is started on this machine.
        max_concurrent: trials at once; else the study's; else as many as the cluster holds.
        fresh: start a new search even if this study has an unfinished one.
        console: where progress is shown; None shows nothing.
        cluster: the file that a growing cluster was launched from: what it can become counts.
        checkpoints: a folder that all nodes mount or the URI of a bucket, where running students
            are kept; else beside the journal, which serves one machine.

    Raises:
        KdsearchError: the study, the cluster or the storage does not allow it; see `errors`.
        KeyboardInterrupt: Ctrl-C; what is done is kept and `run` or `resume` goes on.
    """
    _check_version()
    study = _loaded(study)
    folder = store.folder_for(study, storage, fresh)
    return _go(study, folder, storage, console, address, max_concurrent, cluster, checkpoints)


def resume(
    study: "Study | str | Path | None" = None,
    storage: Path = store.DEFAULT,
    address: str | None = None,
    max_concurrent: int | None = None,
    console: Console | None = None,
    cluster: Path | None = None,
    checkpoints: str | None = None,
) -> Record:
    """Go on with an unfinished search: the study's, or the one that wrote last.

    Arguments and errors as in `run`.

    Raises:
        SearchError: there is none.
    """
    if study is None:
        folder = store.unfinished(storage)
        study = store.study_of(folder)
    else:
        study = _loaded(study)
        folder = store.unfinished(storage, study)
    return _go(study, folder, storage, console, address, max_concurrent, cluster, checkpoints)


def submit(
    study: str | Path,
    address: str | None = None,
    storage: Path | None = None,
    working_dir: Path = Path(),
    max_concurrent: int | None = None,
    fresh: bool = False,
    wait: bool = True,
    console: Console | None = None,
) -> str:
    """Run a study as a job of a Ray cluster, or follow the job that runs it already.

    A job whose driver, head or client was lost is gone on with by the next one of the same study
    and storage.

    Args:
        study: the path of its file, in the working folder.
        address: the dashboard's URL; else RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine's.
        storage: an absolute path on the cluster; else the head's KDSEARCH_STORAGE or ~/kdsearch.
        working_dir: the folder that is uploaded; relative paths of the study start there.
        max_concurrent, fresh: as in `run`; `fresh` also follows no job that is under way.
        wait: whether to write the job's output to the console until it ends.
        console: where progress is shown; None shows nothing.

    Returns:
        The job's name, Ray's submission id.

    Raises:
        KdsearchError: the study, folder or cluster does not allow it, or the job failed.
        Interrupted: the job was stopped, or Ctrl-C ended the waiting; the job heard nothing of it.
    """
    from kdsearch.search import submission

    console = console or Console(quiet=True)
    order, foreign = submission.prepared(Path(study), working_dir, storage, max_concurrent, fresh)
    jobs = submission.Jobs(address)
    job = None if fresh else jobs.running(order)
    found = f"{job} runs already." if job else ""
    job = job or jobs.submit(order)
    for line in [
        found or f"Submitted {job}.",
        *submission.advice(order, job, jobs.address, foreign),
    ]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if wait:
        jobs.follow(job, lambda text: console.out(text, end="", highlight=False))
    return job


def _check_version() -> None:
    """Refuse a study that another version has checked: here it may mean something else."""
    submitted = os.environ.get(store.SUBMITTED_BY, __version__)
    if submitted != __version__:
        raise SearchError(
            "a study must be submitted by the version of kdsearch that runs it, but it was by"
            f" {submitted} and the cluster has {__version__}. Install the same on both."
        )


def _loaded(study: "Study | str | Path") -> "Study":
    from kdsearch.search.study import Study

    return study if isinstance(study, Study) else Study.load(study)


def _go(
    study: "Study",
    folder: Path,
    storage: Path,
    console: Console | None,
    address: str | None,
    max_concurrent: int | None,
    file: Path | None,
    checkpoints: str | None,
    sitting: "Callable[[Study, Path, Path], Any] | None" = None,
    concluded: "Callable[[Record, Path], Conclusion] | None" = None,
) -> Record:
    """Run `sitting`, by default a search, and tell MLflow what was `concluded` of it."""
    from kdsearch.search import gpu
    from kdsearch.search.cluster import connected
    from kdsearch.search.runner import Run

    past = store.record_of(folder)
    display = Display(console or Console(quiet=True), past)
    uri = tracking_uri(storage, study.tracking.uri)
    with store.held(folder):
        display.say(f"{'Going on with' if past.header else 'Starting'} {folder.name} in {storage}.")
        search = (sitting or Run)(study, folder, storage)
        if checkpoints:
            display.say(f"Waiting until a node of the cluster reaches {checkpoints}.")
        measure = partial(gpu.measured_share, study, search.splits, search.journal, display.say)
        wanted = (study.resources, address, max_concurrent, file, checkpoints)
        with connected(*wanted, measure, study.code) as cluster:
            if cluster.nodes > 1 and checkpoints is None:
                display.say(
                    "The cluster has several nodes: unless all mount the storage, a trial whose"
                    " node dies begins anew. With --checkpoints name a folder or bucket they reach."
                )
            follower = MlflowFollower(search.journal, uri, storage / "mlartifacts")
            follower.start()
            search.journal.listen(display)
            outcome = None
            try:
                with display:
                    record = search.go(cluster, display.say)
                outcome = (concluded or _reported)(record, folder)
            finally:
                problem = follower.stop(outcome)
    if problem:
        display.say(
            f"MLflow at {uri} could not be written ({problem}). Nothing is lost: the journal has"
            " everything, and `kdsearch sync` writes it to MLflow once it answers."
        )
    return record


def diagnose(
    study: "Study | str | Path",
    storage: Path = store.DEFAULT,
    address: str | None = None,
    max_concurrent: int | None = None,
    fresh: bool = False,
    console: Console | None = None,
    cluster: Path | None = None,
    checkpoints: str | None = None,
) -> Record:
    """Diagnose a study's teacher and student, or go on with an unfinished diagnosis.

    Trains the teacher if it is not stored, and on the train part a student for each of `ce`,
    `label_smoothing`, `kd_sim`, `kd_pt` and `kd` over `final.seeds` paired seeds, judged on
    validation. Figures and plots are written beside its journal and to MLflow. The space of the
    study is not searched. Arguments and errors as in `run`.
    """
    study = _loaded(study)
    folder = store.folder_for(study, storage, fresh, "diagnoses")
    from kdsearch.search.diagnosing import Diagnosis

    where = (address, max_concurrent, cluster, checkpoints)
    return _go(study, folder, storage, console, *where, Diagnosis, _diagnosed)


def _diagnosed(of: Record, folder: Path) -> Conclusion:
    made = tuple(diagnosis.write(of, folder))
    return Conclusion(figures=diagnosis.summary(of), files=made)


def diagnosed(of: Record) -> tuple[Table, list[str], list[str]]:
    """A diagnosis as a terminal table of its levels, its sentences, and its warnings."""
    name = of.header["study"]["name"]
    table = Table(*diagnosis.HEADINGS, title=f"What {name}'s teacher can hand on")
    for level in diagnosis.levels(of):
        table.add_row(*level.cells())
    return table, [diagnosis.answer(of), *diagnosis.lines(of)], diagnosis.warnings(of)


def check(study: "Study | str | Path", cluster: Path | None = None) -> list[str]:
    """The plan of a study, in lines, and with a cluster file what it makes of that; starts nothing.

    Raises:
        StudyError: all mistakes of the study's file.
        ClusterError: all mistakes of the cluster's, for this study.
    """
    from kdsearch.search import plan

    study = _loaded(study)
    lines = plan.plan(study)
    if cluster:
        from kdsearch.search.fleet import Fleet

        lines += ["", *plan.on(Fleet.checked(cluster, study.resources), study)]
    return lines


def doctor(
    study: "Study | str | Path | None" = None,
    storage: Path = store.DEFAULT,
    address: str | None = None,
    checkpoints: str | None = None,
) -> Iterator["Finding"]:
    """What is well and what is wrong with this machine, the cluster, and a study, one by one.

    Starts Ray here for some seconds where no address is given. Arguments as in `run`.
    """
    from kdsearch.doctor import examined

    yield from examined(storage, study, address, checkpoints)


def suggest(study: "Study | str | Path", storage: Path = store.DEFAULT, most: int = 1) -> str:
    """First points for a study from the storage's past searches, as YAML to put into it.

    `most` is how many of each objective there may be.

    Raises:
        SearchError: no past student that finished lies in the study's space.
    """
    from kdsearch.search import past

    found = past.suggestions(_loaded(study), storage, most)
    if not found:
        raise SearchError(
            f"a past student must have finished and lie in the study's space, but {storage} holds"
            " none that the study does not try anyway. Say with --storage where others are."
        )
    return past.as_yaml(found)


def proxy(
    study: "Study | str | Path",
    storage: Path = store.DEFAULT,
    address: str | None = None,
    console: Console | None = None,
    cluster: Path | None = None,
) -> list[tuple[float, tuple[float, ...]]]:
    """PTLoss's coefficients ranked by their proxy teachers, before any student is trained.

    Returns:
        (mean distance to the validation labels, epsilons), best first; all zeros is plain KL.

    Raises:
        SearchError: the study's space has no `ptloss` whose epsilons are ranges.
    """
    from kdsearch.search.runner import ranked_coefficients

    shown = console or Console(quiet=True)
    ranked = ranked_coefficients(_loaded(study), storage, address, cluster, shown)
    if not ranked:
        raise SearchError(
            "the space must hold a `ptloss` whose epsilons are all ranges, but it does not."
            " Write `epsilons: [{uniform: [-1, 4]}, ...]`, one range per order."
        )
    return ranked


def record(search: str | None = None, storage: Path = store.DEFAULT) -> Record:
    """The record of a search by the name of its folder; the one that wrote last if None.

    Raises:
        SearchError: there is none.
    """
    return store.record_of(store.named(storage, search))


def leaderboard(of: Record, format: str = "table") -> str | Table:
    """A record's leaderboard as a terminal table, CSV, JSON or Markdown.

    Raises:
        SearchError: no final has ended yet.
    """
    rows = rows_of(of)
    if not rows:
        name, failed = of.header.get("name", "this search"), of.of_kind("final")
        if of.finished and failed:
            reason = f"in {name} every final failed: {failed[0].reason}"
        else:
            reason = f"{name} has none yet. Go on with `kdsearch resume`"
        raise SearchError(f"a leaderboard needs finals that finished, but {reason}.")
    if format != "table":
        return {"csv": as_csv, "json": as_json, "markdown": as_markdown}[format](rows)
    study = of.header["study"]
    table = Table(
        title=study["question"] or study["name"],
        title_justify="left",
        caption=rows[0].protocol,
        caption_justify="left",
    )
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number in (1, 2) else "right")
    for row in rows:
        table.add_row(*cells(row))
    return table


def published(of: Record) -> Table | None:
    """The papers' rows for a record's dataset, teacher and student; None where there are none."""
    if not of.papers:
        return None
    table = Table(*papers.HEADINGS, title="Published, under the papers' own protocols")
    for judged in papers.judged(of):
        table.add_row(*judged.cells())
    return table


def rungs(of: Record) -> tuple[list[Table], list[str]]:
    """How fair a search's rungs were, and what others would have done: tables, and sentences.

    Raises:
        SearchError: no student of the search has finished.
    """
    curves = Curves(of)
    if not curves.finished:
        name = of.header.get("name", "this search")
        raise SearchError(
            f"rungs are judged by students that finished, but {name} has none. Go on with"
            " `kdsearch resume`, or give the search more trials."
        )
    tables = []
    if met := curves.rungs():
        tables.append(Table(*RUNG_HEADINGS, title="The rungs of the search"))
        for rung in met:
            tables[0].add_row(*rung.cells())
    tables.append(Table(*REPLAY_HEADINGS, title="Other rungs on the same curves"))
    for replay in curves.replays():
        tables[-1].add_row(*replay.cells())
    return tables, [*curves.sentences(), REPLAY_NOTE]


def conclusion(of: Record) -> list[str]:
    """The answer, how it was chosen, and the account of a finished record, in sentences."""
    costs = account(of)
    return [html.answer(of), *selection(of), *costs.lines(), *costs.savings()]


def write_report(
    folder: Path, output: Path, also: Sequence[str] = (), price: float = 0.0
) -> list[Path]:
    """Write the HTML report of a search's folder, and beside it `also`: md, csv, parquet, svg, png.

    `price` is of a device-hour, in whatever currency. Returns the paths.

    Raises:
        SearchError: there are no finals yet for `also`, or nothing that draws pictures.
    """
    of = store.record_of(folder)
    known = knowledge(of, Outcomes(folder))
    write_atomically(output, html.report(of, price, known).encode())
    return [output, *(files.write(of, output, also, known) if also else ())]


def show(run: str, search: str | None = None, storage: Path = store.DEFAULT) -> list[str]:
    """The full story of a row of the leaderboard or of a training, in lines.

    Raises:
        SearchError: there is no such search or run.
    """
    return story(record(search, storage), run)


def reproduce(
    run: str,
    search: str | None = None,
    storage: Path = store.DEFAULT,
    address: str | None = None,
    max_concurrent: int | None = None,
    console: Console | None = None,
    cluster: Path | None = None,
    checkpoints: str | None = None,
) -> tuple[bool, list[str]]:
    """Train a row's finals once more and say whether it came out within its interval.

    Args:
        run: a row of `search`, or the id of its run in MLflow, which alone is then enough.
        search: the folder's name; the one that wrote last if None.

    The others are as in `run`.

    Returns:
        Whether it did, and what to say of it.

    Raises:
        SearchError: there is no such row, MLflow has no study and journal of it, or the data have
            changed.
    """
    from kdsearch.search.reproducing import Reproduction
    from kdsearch.search.study import Study

    with tempfile.TemporaryDirectory() as fetched:
        if re.fullmatch("[0-9a-f]{32}", run):
            place = Path(fetched)
            run = fetch(run, tracking_uri(storage), place)
        else:
            place = store.named(storage, search)
        past = store.record_of(place)
        study = Study.of(json.loads((place / "study.json").read_text()), source=place.name)
    folder = store.folder_for(study, storage, room="reproductions")
    where = (address, max_concurrent, cluster, checkpoints)
    sitting = partial(Reproduction, past=past, row=run)
    again = _go(study, folder, storage, console, *where, sitting, lambda *_: Conclusion())
    return reproduction.verdict(past, again, run)


def export(
    search: str | None,
    output: Path,
    storage: Path = store.DEFAULT,
    row: str | None = None,
    seed: int | None = None,
    onnx: bool = False,
    register: str | None = None,
) -> list[str]:
    """Write a final's student as weights, program, ONNX and card; register it in MLflow by name.

    `row` is by default the one that leads, `seed` its first. Returns the paths and the version.

    Raises:
        SearchError: there is no such final, or an extra is missing.
        StoreError: its weights are gone, or a file does not give the student's outputs.
    """
    from kdsearch.export import Student, formats, registry

    folder = store.named(storage, search)
    of = store.record_of(folder)
    row = row or next((each.name for each in rows_of(of)), "")
    student = Student.of(of, Outcomes(folder), row, seed)
    paths = formats.write(student, output, onnx)
    made = [str(path) for path in paths]
    if register:
        own = of.header["study"].get("tracking", {}).get("uri")
        uri = tracking_uri(storage, own)
        program = output / "student.pt2"
        where = storage / "mlartifacts"
        made.append(registry.register(student, program, paths[-1], register, uri, where))
    return made


def watch(
    search: str | None = None, storage: Path = store.DEFAULT, console: Console | None = None
) -> None:
    """Follow a search's journal on the console until it has finished; starts and stops nothing.

    Raises:
        SearchError: there is no such search.
    """
    folder = store.named(storage, search)
    console = console or Console(quiet=True)
    follow(Journal(folder / "journal.jsonl"), console)
    said = f"{folder.name} has finished: `kdsearch leaderboard {folder.name}` shows it."
    console.print(said, markup=False, highlight=False)


def ui(storage: Path = store.DEFAULT, port: int = 5000, say: Callable[[str], None] = print) -> None:
    """Serve MLflow's UI on the loopback address until Ctrl-C or SIGTERM; says what to click.

    A store that is a server already is not served again: its address is said.

    Raises:
        SearchError: the port is taken, or the server does not start.
    """
    newest = store.searches(storage)[-1:]
    headers = [store.record_of(folder).header for folder in newest]
    studies = [header["study"] for header in headers if header]
    uri = tracking_uri(storage, studies[0]["tracking"]["uri"] if studies else None)
    if uri.startswith(("http:", "https:")):
        say(f"MLflow is a server already: open {uri} - and there the experiment of your study.")
        return
    storage.mkdir(parents=True, exist_ok=True)
    with suppress(KeyboardInterrupt), server.terminable():
        say("Starting MLflow's UI.")
        with server.served(uri, (storage / "mlartifacts").resolve(), port) as process:
            say(f"MLflow is on http://127.0.0.1:{port} with the runs of {uri}; Ctrl-C ends it.")
            for name, runs, table in server.addresses(port):
                say(f"  {name}: all runs {runs}\n  {'':{len(name)}}  table    {table}")
            say(
                "A study's table is its leaderboard, by the lower bound of the interval. Click a"
                " column's head to sort by it; `Columns` has the others. Tick runs and press"
                " `Compare`. The tag `kind` tells row, paper and search."
            )
            process.wait()
    say("MLflow's UI has ended.")


def sync(search: str | None = None, storage: Path = store.DEFAULT) -> str:
    """Write a search's whole journal to MLflow, doubling nothing; returns the tracking URI."""
    folder = store.named(storage, search)
    uri = tracking_uri(storage, store.study_of(folder).tracking.uri)
    journal = Journal(folder / "journal.jsonl")
    outcome = _outcome(Record.of(journal), folder)
    write_to_mlflow(journal, uri, storage / "mlartifacts", outcome)
    return uri


def _reported(of: Record, folder: Path) -> Conclusion:
    """What a search came to, once its report lies beside its journal."""
    write_report(folder, folder / "report.html", ("csv", "md") if rows_of(of) else ())
    return _outcome(of, folder)


def _outcome(of: Record, folder: Path) -> Conclusion:
    """What MLflow is told of a search beside its journal; of an unfinished one, its files alone.

    With the report go the tables and figures that were written beside it.
    """
    files = (folder / "study.json", folder / "journal.jsonl", *sorted(folder.glob("report*")))
    if not of.finished:
        return Conclusion(files=files)
    said = "\n\n".join(conclusion(of))
    return Conclusion(tuple(standings(of)), account(of).figures(), said, files)
