"""A user's script that takes every public name; pyright's strict mode finds nothing in it.

It is read by the type checker, with the package as an installed one, and never run.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np

import collapse_theory as ct
from collapse_theory.testing import (
    Report,
    Saturating,
    check_closed_form,
    check_loss,
    check_solver,
    check_utility,
    comparisons,
    domains,
    law,
    laws,
    losses,
    numbers,
    programs,
    utilities,
)
from collapse_theory.training import (
    CollapseCallback,
    CrossEncoderRankingLoss,
    PromptAwareRankingLoss,
    Ranking,
    RankingCollator,
    RankingDataset,
    RankingLoss,
    RankingTrainer,
    UtilitySchedule,
    in_parts,
    keep_best,
    ranking_of,
    rows_of,
    serve,
    trainer_loss,
)


def of_utilities() -> ct.Utility:
    families = [ct.Linear(), ct.Power(0.5), ct.Log(), ct.NegativePower(1), ct.LogSigmoid(4)]
    families += [ct.Exponential(3), ct.Quadratic(0.3), ct.Sine(1), ct.Hinge(0.5)]
    families += [ct.LabelSmoothing(0.1), ct.Squared(1)]
    u = ct.LogSigmoid(4) + 0.5 * ct.Log().shifted(0.1) - ct.Hinge(0.5).scaled(2)
    assert_type(ct.utility("log(x)"), ct.Utility)
    print(u(0.5), u.d1(0.5), u.d2(np.array([0.5])), u.concavity, str(u), families)
    own = ct.Utility.from_functions(lambda x: -1 / (x + 0.1), name="mine")
    back = ct.Utility.from_dict(own.to_dict())
    print(back == u, hash(u), ct.PlackettLuce(beta=4, top=1))
    return u


@ct.register
class Elo(ct.Utility):
    scale: float

    def value(self, x: Any, xp: Any = np) -> Any:
        return xp.log(x + self.scale)


class Quartic(ct.Domain):
    def cost(self, r: Any) -> Any:
        return r**4

    def conjugate(self, y: Any) -> Any:
        return 3 * abs(y / 4) ** (4 / 3)


def of_programs(u: ct.Utility) -> ct.Solution:
    for domain in (ct.Box(0, 1), ct.Confined(0.02), ct.Centered(0.01), ct.Free(), Quartic()):
        print(ct.solve(u, 8, domain, method="auto", tol=1e-10).rewards.round(2).tolist())
    print(ct.solve(u, 8, ct.Anchored([0.0] * 8, 0.1)).objective, ct.solve("x", 4, (0, 1)).unique)
    full = ct.Comparisons.full(4, margins=0.5)
    tied = ct.Comparisons.ranking([[0], [1, 2], [3]], ties="equal")
    pairs = ct.Comparisons(5, [0, 0, 1], [1, 2, 3], weights=[2, 1, 1])
    union = ct.Comparisons.union([full, tied, ct.Comparisons.adjacent(4), ct.Comparisons.best(4)])
    print(ct.solve(u, comparisons=union).status, ct.max_margin(pairs).rewards)
    solution = ct.solve(u, 8)
    assert_type(solution, ct.Solution)
    print(solution.gap, solution.relative_gap, solution.gaps, solution.method, solution.law)
    print(solution.rewards_error, solution.ill_conditioned, solution.reference, solution.to_dict())
    ct.solve(u, 8, method="newtn")  # pyright: ignore[reportArgumentType]
    ct.limit(u, method="newtn")  # pyright: ignore[reportArgumentType]
    many = ct.solve_many([u, "log(x)"], 8)
    assert_type(many, ct.Solutions)
    print(many[0].rewards, ct.sweep([u, "x"], [8, None], [ct.Box()]))
    return solution


def of_laws(u: ct.Utility) -> ct.RewardLaw:
    found = ct.limit(u, ct.Confined(0.02), method="auto")
    assert_type(found, ct.LimitLaw)
    print(found.relative_gap, found.atoms, found.support, found.rewards(8), found.prediction(8))
    exact = ct.closed_form("log(x)", 8)
    assert_type(exact, ct.Solution)
    print(exact.reference, ct.closed_form("log(x)").name, ct.predicted_rewards(u, 8))
    print(ct.atom_mass(u), ct.atom_parameter("logsigmoid", 0.1))
    one: ct.RewardLaw = found
    print(one.mean(), one.var(), one.std(), one.median(), one.cdf(0.5), one.ppf([0.1, 0.9]))
    print(
        one.pdf(np.linspace(0, 1, 3)), one.sf(0.5), one.moment(3), one.entropy(), one.quantiles(4)
    )
    print(one.expect(np.sqrt), one.rvs(10, np.random.default_rng(0)), one.distance(found))
    print(one.best_of(8).kl, one.tilted(0.4).effective_sample_size, one.to_scipy().cdf(0.5))
    return one


def of_designs(scores: list[list[float]]) -> None:
    found = ct.design("levels 0.4 0.2 0.4", max_slope=50)
    assert_type(found, ct.Design)
    print(found.utility, found.reachable, found.distance, found.proof, found.slope, found.steeper)
    if found.link is not None:
        print(found.link([0.1, 0.5]))
    if found.comparisons is not None:
        print(found.comparisons.weights)
    advice = ct.recommend(scores, kinds=["open"] * len(scores))
    assert_type(advice, ct.Recommendation)
    print(advice["open"])


def of_logs(path: Path, rewards: np.ndarray) -> None:
    log = ct.read_log(path, prompt="id")
    assert_type(log, ct.RewardLog)
    found = ct.diagnose(log, utility="log(x + 0.1)", domain=ct.Free())
    assert_type(found, ct.Diagnosis)
    print(found.outcome, found.collapsed, found.index, found.reason, found.advice)
    print([note.code for note in found.notes], [kind.predictions for kind in found.kinds])
    both = ct.LogSummary.of(path) + ct.LogSummary.of(path)
    print(ct.diagnose(both).outcome, ct.diagnose(rewards, kinds=["a"] * len(rewards)).steps)


def of_heads(features: np.ndarray) -> None:
    head = ct.fit_head(features, penalty=0.01)
    assert_type(head, ct.Head)
    print(head.rewards, head.held_out, head.reward_error.max(), head.mean_utility)
    path = ct.head_path(features)
    assert_type(path, ct.HeadPath)
    print(path.penalties, path.held_out_utility, path.best.penalty)
    memory = ct.memory(head.rewards, head.held_out, head.utility, paired=True)
    assert_type(memory, ct.Memory)
    print(memory.gamma, memory.interval, ct.penalty_of(head.rewards, "logsigmoid(x)"))


def of_errors() -> None:
    kinds = (ct.CollapseError, ct.InvalidUtility, ct.NoClosedForm, ct.NoConicForm, ct.NoOptimum)
    kinds += (ct.NotConcave, ct.NotIncreasing, ct.NotInstalled, ct.OutOfRange, ct.ParseError)
    try:
        ct.solve("x", 4)
    except (*kinds, ct.SolverFailed) as fault:
        print(fault, ct.__version__)


def of_figures(found: ct.RewardLaw, solution: ct.Solution) -> None:
    axes = ct.figures.finite_optimum("log(x + 0.1)", n=8, label="n = 8")
    ct.figures.limit_laws([found, "log(x)"], ax=axes, labels=["mine", "log"])
    with ct.figures.style():
        print(ct.figures.save(axes, "figure.pdf"), ct.figures.figure_of(axes).dpi)
    print(ct.figures.phase_diagram_data(), ct.figures.figure_entry("story").draw())
    print([entry.name for entry in ct.figures.FIGURES], found.plot(), solution.plot())


def of_training(model: Any, tokenizer: Any, rows: list[dict[str, Any]], logits: Any) -> None:
    loss = RankingLoss("log(x + 0.1)")
    aware = PromptAwareRankingLoss({"open": "-1/(x + 0.1)", "closed": ct.Linear()})
    print(loss(logits), aware(logits, kinds=["open", "closed"]), loss.rewards(logits))
    print(loss.predict(8).rewards, aware.predict(8, "open").rewards, loss.gap(logits), aware.kinds)
    print(loss.to_dict(), RankingLoss.from_dict(loss.to_dict()) == loss)
    data = RankingDataset.from_records(rows, kinds=aware.kinds)
    print(data.report, RankingDataset.from_file("rankings.jsonl")[0], ranking_of(rows[0]))
    ranking = Ranking("Name a prime.", ("7", "9"), (0, 1))
    print(ranking.completions, ranking.ranks, ranking.margins, ranking.weight, ranking.kind)
    collator = RankingCollator(tokenizer, kinds=aware.kinds)
    print(collator([data[0]]), data.filter(collator.fits), trainer_loss(loss))
    callback = CollapseCallback(aware)
    print(
        callback,
        keep_best("gap"),
        UtilitySchedule(trainer_loss(loss), {0.0: loss}),
        serve(model, loss),
    )
    print(in_parts, rows_of, CrossEncoderRankingLoss(model, loss=loss))
    RankingTrainer(model=model, train_dataset=data, loss=aware)


def uniform(u: ct.Utility) -> str:
    return "uniform"


def of_testing() -> None:
    report = check_utility("log(x + 0.1)")
    assert_type(report, Report)
    print(report.cases, check_closed_form(uniform, ["x"]), check_solver, check_loss)
    print(
        utilities(),
        domains(),
        comparisons(),
        programs(),
        law([(0.2, 0.2)], []),
        laws(),
        losses(),
        numbers(0, 1),
    )
    print(Saturating)


if __name__ == "__main__":
    of_programs(of_utilities())
