"""Reproduce a row: its finals once more, from what was recorded of them.

storage/reproductions/reproduction-<study>-<digest>-<n>/   laid out like a search
"""

from collections.abc import Iterator
from pathlib import Path

from kdsearch import data
from kdsearch.errors import SearchError
from kdsearch.search.cluster import Cluster
from kdsearch.search.fit import check_networks
from kdsearch.search.jobs import FinalJobs, Job
from kdsearch.search.stages import Stages
from kdsearch.search.study import Study
from kdsearch.search.teaching import Say
from kdsearch.tracking import Journal, Record


class Reproduction:
    """The finals of one row of a recorded search, trained anew in a folder of their own."""

    def __init__(self, study: Study, folder: Path, storage: Path, past: Record, row: str) -> None:
        """Load the data and hold them against the record's; nothing is started.

        Raises:
            SearchError: the record has no finals of this row, or the data are others.
            StudyError: a network does not fit the data.
            DataError: the data are missing or damaged.
        """
        self.study, self.folder, self.storage = study, folder, storage
        self.journal = Journal(folder / "journal.jsonl")
        self._row = row
        self._finals = [t for t in past.of_kind("final") if t.row == row]
        if not self._finals:
            rows = dict.fromkeys(t.row for t in past.of_kind("final"))
            raise SearchError(
                f"a row must be one that has finals, but got {row!r}. Valid:"
                f" {', '.join(rows) or 'none yet'}."
            )
        self.splits = data.load(**study.data.arguments)
        if self.splits.digest != past.header["data"]:
            raise SearchError(
                f"a row is reproduced on the same data, digest {past.header['data']}, but the"
                f" study's have {self.splits.digest}: they have changed since. Bring back those of"
                " then, or run the study anew."
            )
        check_networks(study, self.splits)

    def go(self, cluster: Cluster, say: Say) -> Record:
        """Teacher, signals, and the row's finals with their seeds; returns the finished record.

        Raises:
            Interrupted: Ctrl-C; the same command goes on.
        """
        stages = Stages(self.study, self.folder, self.storage, self.journal, self.splits, cluster)
        stages.begin("reproduction")
        stages.teach(say)
        jobs = FinalJobs(self._jobs(), Record.of(self.journal).trials)
        stages.train("finals", jobs, len(jobs))
        self.journal.append("finished")
        return Record.of(self.journal)

    def _jobs(self) -> Iterator[Job]:
        for final in self._finals:
            yield Job(
                id=final.id,
                kind="final",
                family=final.family,
                origin=final.origin,
                row=final.row,
                experiment=final.experiment,
            )
