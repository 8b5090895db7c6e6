"""Hold a study against its data, before anything is started: do the objectives and networks fit?"""

import torch

from kdsearch import models
from kdsearch.data import Splits
from kdsearch.errors import Problem, StudyError
from kdsearch.objectives import from_spec
from kdsearch.search.study import Study
from kdsearch.teachers import teacher
from kdsearch.training import Network, part


def check_objectives(study: Study, splits: Splits) -> None:
    """Call every objective of the space's corners once: some laws need the class count.

    Raises:
        StudyError: an objective does not fit the data.
    """
    space = study.parsed_space
    logits = torch.zeros(2, splits.classes)
    labels = torch.tensor([0, splits.classes - 1])
    problems = []
    for corner in space.corners():
        spec = space.assemble(corner)["objective"]
        try:
            from_spec(spec)(logits, logits, labels)
        except Exception as error:  # noqa: BLE001 - whatever it is, the objective does not fit
            message = f"{spec} does not fit {splits.classes} classes: {error}"
            problems.append(Problem("space.objective", message))
    if problems:
        raise StudyError(study.name, dict.fromkeys(problems))


def check_networks(study: Study, splits: Splits) -> None:
    """Run every network of a study on two images: a wrong shape shows now and not in a worker.

    Raises:
        StudyError: a network fails, or gives something else than one logit per class.
        StoreError: a checkpoint does not fit its network or the data.
    """
    images = part(splits, splits.train[:2]).images(torch.arange(2))
    corners = (study.parsed_space.assemble(corner) for corner in study.parsed_space.corners())
    students = [study.assembled(corner)["model"] for corner in corners if "student" in corner]
    networks = {"student": [Network.model_validate(each) for each in students] or [study.student]}
    for depth, link in enumerate(study.teacher.chain, start=1):
        if link.checkpoint:
            teacher.network(link, splits)
        networks["teacher." * depth + "model"] = [link.model] if link.model else []
    problems = []
    for path, found in networks.items():
        for network in dict.fromkeys(found):
            try:
                model = models.build(network.name, splits.classes, images.shape[1], **network.size)
                with torch.no_grad():
                    shape = tuple(model.eval()(images).shape)
                law = f"must map {tuple(images.shape)} images to (2, {splits.classes}) logits"
                if shape != (2, splits.classes):
                    problems.append(Problem(path, f"{network.name} {law}, but gives {shape}."))
            except Exception as error:  # noqa: BLE001 - whatever it is, the network does not fit
                reason = str(error).partition("\n")[0]
                shown = f"{network.name} does not fit images of {tuple(images.shape[1:])}: {reason}"
                problems.append(Problem(path, shown))
    if problems:
        raise StudyError(study.name, dict.fromkeys(problems))
