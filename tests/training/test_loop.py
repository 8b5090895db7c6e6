"""The loop: it learns, repeats itself to the last bit, goes on from a state, and notices NaN."""

import io
import math

import numpy as np
import pytest
import torch

from kdsearch import data
from kdsearch.data import Splits
from kdsearch.objectives.similarity import class_means, cosine
from kdsearch.training import Experiment, Part, Training, part, predict
from kdsearch.training.loop import epoch_order


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("digits", validation=0.2)


@pytest.fixture(scope="module")
def parts(splits: Splits) -> tuple[Part, Part]:
    return part(splits, splits.train[:256]), part(splits, splits.validation)


@pytest.fixture(scope="module")
def teacher_logits() -> torch.Tensor:
    return torch.randn(256, 10, generator=torch.Generator().manual_seed(0))


def experiment(**changes: object) -> Experiment:
    base = {
        "model": {"name": "cnn", "width": 4},
        "objective": {"name": "kd"},
        "recipe": {"epochs": 4, "learning_rate": 0.1},
    }
    return Experiment.model_validate(base | changes)


def test_a_student_learns(splits: Splits, parts: tuple[Part, Part]) -> None:
    learn = part(splits, splits.train)
    model = {"name": "cnn", "width": 8}
    training = Training(experiment(model=model, objective={"name": "ce"}), learn, parts[1], 10)
    results = list(training)
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    assert results[-1].accuracy > 0.7
    assert results[-1].train_loss < results[0].train_loss
    logits = predict(training.model, parts[1])
    accuracy = (logits.argmax(1) == parts[1].labels).float().mean().item()
    assert results[-1].accuracy == accuracy


def test_the_same_seed_repeats_to_the_last_bit(
    parts: tuple[Part, Part], teacher_logits: torch.Tensor
) -> None:
    def run(seed: int) -> list[tuple[float, float]]:
        training = Training(experiment(seed=seed), *parts, 10, teacher_logits)
        return [(result.train_loss, result.loss) for result in training]

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)  # the global generator has no say
    assert run(0) == first
    assert run(1) != first


def test_building_a_student_leaves_the_global_generator_alone(parts: tuple[Part, Part]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    Training(experiment(objective={"name": "ce"}), *parts, 10)
    assert torch.equal(torch.rand(1), expected)


def test_students_of_one_seed_share_weights_and_batches(parts: tuple[Part, Part]) -> None:
    students = [
        Training(experiment(objective={"name": name}), *parts, 10) for name in ("ce", "dkd")
    ]
    weights = [torch.cat([p.flatten() for p in s.model.parameters()]) for s in students]
    assert torch.equal(*weights)
    assert torch.equal(epoch_order(256, 0, 3), epoch_order(256, 0, 3))
    assert not torch.equal(epoch_order(256, 0, 3), epoch_order(256, 0, 4))
    assert sorted(epoch_order(256, 7, 1).tolist()) == list(range(256))


def test_teacher_logits_follow_their_images(parts: tuple[Part, Part]) -> None:
    """With one-hot teacher logits, KL at temperature 1 and lambda 1 is cross entropy."""
    sure = 1e4 * torch.nn.functional.one_hot(parts[0].labels, 10).float()
    soft = experiment(objective={"name": "kd", "temperature": 1.0, "lam": 1.0})
    hard = experiment(objective={"name": "ce"})
    taught = [result.train_loss for result in Training(soft, *parts, 10, sure)]
    alone = [result.train_loss for result in Training(hard, *parts, 10)]
    assert taught == pytest.approx(alone, rel=1e-4)


def test_a_saved_state_goes_on_as_if_nothing_had_happened(
    parts: tuple[Part, Part], teacher_logits: torch.Tensor
) -> None:
    whole = Training(experiment(), *parts, 10, teacher_logits)
    expected = [next(whole)[:4] for _ in range(4)]
    broken = Training(experiment(), *parts, 10, teacher_logits)
    next(broken), next(broken)
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    going_on = Training(experiment(), *parts, 10, teacher_logits)
    going_on.load_state_dict(torch.load(file, weights_only=True))
    assert [result[:4] for result in going_on] == expected[2:]


def test_a_loss_that_is_not_finite_is_noticed(parts: tuple[Part, Part]) -> None:
    recipe = {"epochs": 3, "learning_rate": 1e30}
    result = list(Training(experiment(objective={"name": "ce"}, recipe=recipe), *parts, 10))[-1]
    assert not result.finite
    assert not math.isfinite(result.train_loss)


def test_warm_up_reaches_the_objective(
    parts: tuple[Part, Part], teacher_logits: torch.Tensor
) -> None:
    """One epoch of a two-epoch warm-up is the objective with half its soft weight."""

    def first_loss(balance: dict[str, float]) -> float:
        spec = {"balance": balance, "divergence": {"kind": "kl"}}
        return next(Training(experiment(objective=spec), *parts, 10, teacher_logits)).train_loss

    assert first_loss({"soft": 4, "warmup": 2}) == pytest.approx(first_loss({"soft": 2}))


def test_a_part_is_normalised(splits: Splits) -> None:
    learn = part(splits, splits.train)
    images, labels = learn.images(torch.arange(len(learn))), learn.labels
    assert images.mean().item() == pytest.approx(0, abs=1e-4)
    assert images.std().item() == pytest.approx(1, abs=1e-3)
    assert np.array_equal(labels.numpy(), splits.labels[splits.train])


def test_kd_sim_learns_from_the_similarity_it_is_given_or_from_the_mean_logits(
    parts: tuple[Part, Part], teacher_logits: torch.Tensor
) -> None:
    def loss(similarity: torch.Tensor | None) -> float:
        training = Training(
            experiment(objective={"name": "kd_sim"}), *parts, 10, teacher_logits, similarity
        )
        return next(training).train_loss

    by_hand = cosine(class_means(teacher_logits, parts[0].labels, 10))
    assert loss(None) == loss(by_hand)
    assert loss(None) != loss(torch.eye(10))
