"""Every named objective a second time, from the published formulas, in float64 numpy.

Written one example at a time and in probabilities, as the papers print them; kdsearch works on
batches and in log-probabilities, so an error would have to be made twice to go unseen. Nothing of
kdsearch is imported. ROWS is the table that the tests walk through; `python
tests/objectives/reference.py` writes golden.json from it.
"""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden.json")

ROWS = (
    ("ce", {}),
    ("kd", {}),
    ("kd", {"temperature": 2.0, "lam": 0.5}),
    ("kd", {"temperature": float("inf"), "lam": 0.7}),
    ("logit_mse", {}),
    ("logit_mse", {"lam": 0.3}),
    ("ttm", {}),
    ("ttm", {"temperature": 4.0, "beta": 36.0}),
    ("wttm", {}),
    ("wttm", {"temperature": 3.0, "beta": 1.5, "weighting_power": 0.5}),
    ("wttm", {"weighting_power": -1.0}),
    ("wttm", {"beta": 5.0, "normalise": True}),
    ("ptloss", {}),
    ("ptloss", {"epsilons": [0.5, -0.2, 0.1], "temperature": 2.0, "lam": 0.7}),
    ("ptloss", {"epsilons": [[0.3, -0.1, 0.2, 0.0, 1.5, -0.4, 0.6], -0.25]}),
    ("reverse_kl", {}),
    ("reverse_kl", {"temperature": 3.0, "lam": 0.6}),
    ("jensen_shannon", {}),
    ("jensen_shannon", {"beta": 0.1, "temperature": 2.0, "lam": 0.8}),
    ("label_smoothing", {}),
    ("label_smoothing", {"delta": 0.4}),
    ("kd_pt", {}),
    ("kd_pt", {"temperature": 1.5, "lam": 0.5}),
    ("kd_topk", {}),
    ("kd_topk", {"k": 3, "temperature": 2.0, "lam": 0.5}),
    ("kd_sim", {}),
    (
        "kd_sim",
        {
            "power": 0.5,
            "similarity_temperature": 0.2,
            "temperature": 2.0,
            "lam": 0.5,
            "similarity": [[round(np.cos(0.7 * (a - b)), 6) for a in range(7)] for b in range(7)],
        },
    ),
    ("dkd", {}),
    ("dkd", {"alpha": 0.5, "beta": 2.0, "temperature": 2.0, "warmup": 0}),
    ("nkd", {}),
    ("nkd", {"gamma": 3.5, "temperature": 3.0}),
    ("dist", {}),
    ("dist", {"beta": 1.0, "gamma": 0.5, "temperature": 1.0}),
    ("logit_standardisation", {}),
    ("logit_standardisation", {"temperature": 3.0, "beta": 4.0, "hard": 1.0}),
)


def batch(seed=0, examples=6, classes=7, scale=2.0):
    """Student logits, teacher logits and labels; RandomState's stream never changes."""
    draw = np.random.RandomState(seed)
    student, teacher = scale * draw.randn(2, examples, classes)
    return student, teacher, draw.randint(classes, size=examples)


def softmax(logits, temperature=1.0):
    exponentials = np.exp((logits - logits.max()) / temperature)
    return exponentials / exponentials.sum()


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def js(p, q, beta=0.5):
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


def ce(z, v, y):
    return -np.log(softmax(z)[y])


def kd(z, v, y, temperature=4.0, lam=0.9):
    if temperature == float("inf"):
        gap = z - v
        limit = np.dot(gap, gap) / (2 * len(gap)) - gap.mean() ** 2 / 2
        return (1 - lam) * ce(z, v, y) + lam * limit
    p, q = softmax(v, temperature), softmax(z, temperature)
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * kl(p, q)


def reverse_kl(z, v, y, temperature=1.0, lam=1.0):
    p, q = softmax(v, temperature), softmax(z, temperature)
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * kl(q, p)


def jensen_shannon(z, v, y, beta=0.5, temperature=1.0, lam=1.0):
    p, q = softmax(v, temperature), softmax(z, temperature)
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * js(p, q, beta)


def logit_mse(z, v, y, lam=1.0):
    return (1 - lam) * ce(z, v, y) + lam * np.mean(
        [(a - b) ** 2 for a, b in zip(z, v, strict=True)]
    )


def ttm(z, v, y, temperature=10.0, beta=100.0):
    return wttm(z, v, y, temperature, beta, weighting_power=0.0)


def wttm(z, v, y, temperature=10.0, beta=3.0, weighting_power=1.0, mean_weight=1.0):
    powers = softmax(v) ** (1 / temperature)
    power_sum = powers.sum()
    weight = power_sum**weighting_power / mean_weight
    return ce(z, v, y) + beta * weight * kl(powers / power_sum, softmax(z))


def normalised(teacher, temperature=10.0, weighting_power=1.0, **settings):
    """WTTM's settings with the mean of the batch's weights in the place of `normalise`."""
    sums = [(softmax(v) ** (1 / temperature)).sum() for v in teacher]
    mean = np.mean([power_sum**weighting_power for power_sum in sums])
    return settings | {
        "temperature": temperature, "weighting_power": weighting_power, "mean_weight": mean,
    }  # fmt: skip


def ptloss(z, v, y, epsilons=(0.0,) * 5, temperature=1.0, lam=1.0):
    p, q = softmax(v, temperature), softmax(z)
    perturbation = sum(
        p[c] * (epsilon if np.isscalar(epsilon) else epsilon[c]) * (1 - q[c]) ** order
        for order, epsilon in enumerate(epsilons, start=1)
        for c in range(len(p))
    )
    return (1 - lam) * ce(z, v, y) + lam * (kl(p, q) + perturbation)


def label_smoothing(z, v, y, delta=0.1):
    return kl((1 - delta) * np.eye(len(z))[y] + delta / len(z), softmax(z))


def kd_pt(z, v, y, temperature=4.0, lam=0.9):
    true = softmax(v, temperature)[y]
    target = [true if c == y else (1 - true) / (len(z) - 1) for c in range(len(z))]
    divergence = kl(target, softmax(z, temperature))
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * divergence


def kd_topk(z, v, y, k=0.25, temperature=4.0, lam=0.9):
    p, classes = softmax(v, temperature), len(z)
    count = k if isinstance(k, int) else round(k * classes)
    kept = sorted(range(classes), key=lambda c: p[c])[-count:]
    rest = (1 - sum(p[kept])) / (classes - count)
    target = [p[c] if c in kept else rest for c in range(classes)]
    divergence = kl(target, softmax(z, temperature))
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * divergence


def kd_sim(
    z, v, y, power=1.0, similarity_temperature=0.3, temperature=4.0, lam=0.9, similarity=None
):
    row = np.eye(len(z))[y] if similarity is None else similarity[y]
    target = softmax(np.array([np.sign(s) * abs(s) ** power for s in row]), similarity_temperature)
    divergence = kl(target, softmax(z, temperature))
    return (1 - lam) * ce(z, v, y) + lam * temperature**2 * divergence


def dkd(z, v, y, alpha=1.0, beta=8.0, temperature=4.0, warmup=20):
    p, q = softmax(v, temperature), softmax(z, temperature)
    target = kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
    non_target = kl(np.delete(p, y) / (1 - p[y]), np.delete(q, y) / (1 - q[y]))
    return ce(z, v, y) + temperature**2 * (alpha * target + beta * non_target)


def nkd(z, v, y, gamma=1.5, temperature=1.0):
    others = [c for c in range(len(z)) if c != y]
    target = -softmax(v)[y] * np.log(softmax(z)[y])
    p, q = softmax(v[others], temperature), softmax(z[others], temperature)
    non_target = -sum(a * np.log(b) for a, b in zip(p, q, strict=True))
    return ce(z, v, y) + target + gamma * temperature**2 * non_target


def correlation(a, b):
    """Pearson's; 1e-8 is the DIST authors' own and decides what a constant vector gives."""
    a, b = a - a.mean(), b - b.mean()
    return np.dot(a, b) / (np.sqrt(np.dot(a, a) * np.dot(b, b)) + 1e-8)


def dist(student, teacher, labels, beta=2.0, gamma=2.0, temperature=4.0):
    """The whole batch at once: the term within classes belongs to no single example."""
    p = np.array([softmax(v, temperature) for v in teacher])
    q = np.array([softmax(z, temperature) for z in student])
    intra = 1 - np.mean([correlation(a, b) for a, b in zip(p.T, q.T, strict=True)])
    inter = np.array([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    hard = np.array([ce(z, None, y) for z, y in zip(student, labels, strict=True)])
    return hard + temperature**2 * (beta * inter + gamma * intra)


def logit_standardisation(z, v, y, temperature=2.0, beta=9.0, hard=0.1):
    # 1e-7 is the authors' own.
    p, q = (softmax((x - x.mean()) / (x.std(ddof=1) + 1e-7), temperature) for x in (v, z))
    return hard * ce(z, v, y) + beta * temperature**2 * kl(p, q)


FUNCTIONS = {
    function.__name__: function
    for function in (
        *(ce, kd, logit_mse, ttm, wttm, ptloss, label_smoothing, kd_pt, kd_topk, kd_sim, dkd, nkd),
        *(dist, logit_standardisation, reverse_kl, jensen_shannon),
    )
}


def losses(name, settings, student, teacher, labels):
    """The total loss of each example: (N,)."""
    function = FUNCTIONS[name]
    if function is dist:
        return dist(student, teacher, labels, **settings)
    if settings.get("normalise"):
        settings = normalised(teacher, **{k: v for k, v in settings.items() if k != "normalise"})
    rows = zip(student, teacher, labels, strict=True)
    return np.array([function(z, v, y, **settings) for z, v, y in rows])


def gradient(name, settings, student, teacher, labels, step=1e-3):
    """Of the mean loss in the student's logits, by fourth-order central differences: (N, C)."""
    result = np.zeros_like(student)
    for index in np.ndindex(student.shape):
        for shift, factor in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = student.copy()
            moved[index] += shift * step
            mean = losses(name, settings, moved, teacher, labels).mean()
            result[index] += factor * mean / (12 * step)
    return result


def golden():
    """One value and one gradient norm for every row of the table."""
    for name, settings in ROWS:
        value = losses(name, settings, *batch()).mean()
        norm = np.linalg.norm(gradient(name, settings, *batch()))
        yield {"name": name, "settings": settings, "value": value, "gradient_norm": norm}


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(row)}" for row in golden())
    GOLDEN.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
