"""Texts, honest and hostile: a utility or a clear error at once, and nothing is ever run."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_theory.errors import InvalidUtility, NotConcave, ParseError
from collapse_theory.utilities import Utility, utility
from collapse_theory.utilities.expression import depth, text
from collapse_theory.utilities.functions import FUNCTIONS
from collapse_theory.utilities.normal_form import normal
from collapse_theory.utilities.parser import parse

HOSTILE = [
    "", " ", "\n", "\t \r\n", "\0", "x\0", "lo\0g(x)", "#", "x # comment", "x;x", "x=1", "x:=1",
    "(x:=1)", "x==1", "x<1", "0<x<1", "x!=1", "x if x else 1", "1if x else 2", "lambda x: x",
    "lambda: 0", "not x", "x and x", "x or 1", "x in x", "x is x", "x|1", "x&1", "x^2", "~x",
    "x<<1", "x>>1", "x//2", "x%2", "x@x", "x[0]", "x[:]", "[x]", "[x for x in x]", "{x}", "{x: x}",
    "{**x}", "(x,)", "x,x", "()", "*x", "**x", "log(*x)", "log(**x)", "log(x=x)", "log()",
    "log(x, x)", "min()", "min(x)", "min(*x, x)", "min(x, x, key=x)", "x(x)", "(x)(x)", "2(x)",
    "log(x)(x)", "pi(x)", "log", "log + x", "min*x", "x.real", "x.__class__", "x . real",
    "(1).real",
    "().__class__.__bases__", "log.__globals__", "__import__('os').system('echo no')",
    "__import__(x)", "eval(x)", "exec(x)", "open(x)", "print(x)", "getattr(x, x)", "abs(x, x)",
    "max(x)", "np.log(x)", "math.log(x)", "y", "X", "Log(x)", "LOG(x)", "xx", "x1", "_x", "x_",
    "True", "False", "None", "True*x", "...", "Ellipsis", "NaN*x", "nan*x", "inf*x", "Infinity*x",
    "1j*x", "1J", "x + 1j", "'x'", '"x"', "'''x'''", "b'x'", "f'{x}'", "f'{__import__(x)}'",
    "r'x'", "x 'y'", "x x", "2x", "x2", "2 x", "x(2)", "1_000*x", "0x10*x", "0b1*x", "0o7*x",
    "007*x", "1.2.3*x", "1..real", "1.e", "1e", "1e+", "1e999*x", "-1e999*x", "1e309 + x",
    "9" * 400 + "*x", "9" * 990, "x/0", "1/0*x", "x/(1-1)", "x/(2*0)", "x/-0", "x/(x-x)", "x + 0/0",
    "log(0)*x", "x + log(-1)", "x + sqrt(-1)", "x + (-1)**0.5", "0**-1*x", "x*log1p(-1)",
    "exp(1000)*x", "10**400*x", "1e300*1e300*x", "9**9**9*x", "9**9**9**9**9", "2.0**5000*x",
    "x + (-8)**(1/3)", "x" + "+x" * 600, "(" * 300 + "x" + ")" * 300, "(" * 999, ")" * 999,
    "-" * 900 + "x", "+" * 900 + "x", "log(" * 60 + "x" + ")" * 60, "x**" * 200 + "x", "-(" * 90,
    "log(" * 249 + "x", "min(" * 200, "x" * 1000, "log(x", "x)", "(x", ")x(", "x+", "+", "-", "*x",
    "/x", "x**", "x***2", "x--", "x+*x", "log x", "log(x))", "log((x)", "min(x,,1)", "min(x 1)",
    "log(,)", ",", ".", "..", "x.", ".x", "e.x", "import os", "yield x", "await x", "return x",
    "del x", "pass", "x\ny", "\\", "x\\", "$x", "x!", "x?", "`x`",
    "\uff58", "log(\u0445)", "\u212f*x", "\u03c0*x",
    "x\xb2", "x\u22121", "x\xd72", "x\xf72",
    "\u221e", "x\u200b", "\ufeffx", "\u0661*x", "\xbd*x", "\u221ax", "\U0001f600", "\ud800",
    "\U0001d425\U0001d428\U0001d420(x)",
    "x\x0b+1", "x\x0c", "x\x1b[31m", "x\u2028+1", "%s", "{x}", "${x}", "<x>", "x" + " " * 1000,
]  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE, ids=lambda s: ascii(s[:25]))
def test_hostile_texts_are_parse_errors_at_once(source):
    start = time.process_time()
    with pytest.raises(ParseError) as caught:
        utility(source)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 500
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("thing", [None, 5, 2.0, b"x", ["x"], ("x",), {}, object(), len, True])
def test_what_is_no_text_is_a_parse_error(thing):
    with pytest.raises(ParseError, match=type(thing).__name__):
        utility(thing)


def test_errors_name_what_was_found_and_where():
    for source, found, column in [
        ("log(x) + foo(x)", "foo", 10), ("x + log(x, 1)", "log", 5),
        ("2*x + (x // 2)", "//", 8), ("x + 1e999", "too large", 5), ("log(x=1)", "'='", 6),
    ]:  # fmt: skip
        with pytest.raises(ParseError, match=f"column {column}\\b") as caught:
            utility(source)
        assert found in str(caught.value)
        assert "allowed are" in str(caught.value)


@pytest.mark.parametrize("source", ["x**2", "exp(x)", "-log(x)", "log(x+0.1) + 5*x**2",
    "log(x+0.1) + 0.001*sin(200*x)", "1/x", "-min(x, 0.5)", "x*x*x", "-min(-x, -0.3) + 2*x",
    "log(x+0.1) + 1e-9*exp(-(1e5*(x-0.5123))**2)", "log(x+0.1) + 1e-7*sin(20000*x)",
    "log(x+0.1) + 1e-9/(1+(1e5*(x-0.5123))**2)", "log(x+0.1) + 1e-6*atan(1e5*(x-0.7))",
    "x**0.5 + 1e-6*tanh(1e4*(x-0.3))", "sqrt(x) + 0.5*x**1.5 + exp(x)"])  # fmt: skip
def test_convex_texts_are_refused_with_a_place(source):
    with pytest.raises(NotConcave, match=r"U''\([0-9.e+-]+\)|near the gap"):
        utility(source)


@pytest.mark.parametrize("source", ["log(x+1) + 0.1*tanh(-1e5*cos(5*x))",
                                    "log(x+.2) + 1e-4*atan(1e6*sin(3*x-1))",
                                    "log(x+1) + 1e-3*tanh(1e4*log(x+0.3))",
                                    "log(x+1) + 1e-5*sqrt(1e-12 + cos(5*x)**2)",
                                    "log(x+1) + 1e-4*tanh(1e7*cos(5*x)*x)"])  # fmt: skip
def test_bumps_at_zeros_of_inner_functions_are_refused(source):
    with pytest.raises(NotConcave):
        utility(source)


@pytest.mark.parametrize("source", ["log(x-0.1)", "log(-x)", "sqrt(x-1)", "5", "x-x", "0*x",
    "log(log(x))", "1e-300*1e-300*x", "log(0.5-x)", "x**0", "(x-x)*log(x)", "1e300*(1e300*(x+1))",
    "exp(1e3 - x)", "1/(x-x*1)", "tanh(x/x)"])  # fmt: skip
def test_texts_without_values_are_refused(source):
    with pytest.raises(InvalidUtility):
        utility(source)


@pytest.mark.parametrize("source", ["sqrt(x)*sqrt(x) + log(x+1)", "tanh(5*x)", "atan(5*x)",
    "erf(3*x)", "log(log(x+2))", "sqrt(log(1+x))", "x*exp(-x)", "log1p(1000*x)", "sigmoid(3*x)",
    "cos(x)", "1e8*x - 1e8*x + log(x+0.1)", "tanh(400*x)", "log(x + 1e-12)", "-1/(x+1e-9)",
    "atan(1e6*x)", "-x", "-x*log(x)", "sqrt(1-exp(-x))", "min(log(x+0.1), x-1)", "-x**-20*exp(-x)",
    "log(x+0.1) + 0.001*x**2", "x/(x+1)", "sqrt(x) + 1e-4*x**3", "erf(1e3*x)", "-x**3 + 3*x",
    "log1p(1e-20*x)", "arctan(x)", " ( x ) ", "log(\nx + 1\n)", "+x", "((x))*1", "min(x, 2*x)",
    "min(" + ", ".join(f"x**0.{k} + 0.{k}" for k in range(10, 60)) + ")"])  # fmt: skip
def test_honest_texts_are_taken_and_read_back(source):
    found = utility(source)
    assert utility(str(found)) == found


WORDS = st.sampled_from(
    ["x", "x", "1", "0.5", "2", "1e-3", "1e300", "pi", "e", "+", "-", "*", "/", "**", "(", ")", ",",
     "min(", " ", *(f"{name}(" for name in FUNCTIONS)]
)  # fmt: skip


def _is_well_treated(source):
    start = time.process_time()
    try:
        found = utility(source)
    except InvalidUtility:
        found = None
    if found is not None:
        assert isinstance(found, Utility)
        assert utility(str(found)) == found
    assert time.process_time() - start < 2.0


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60))
def test_random_text_is_refused_or_a_utility(source):
    _is_well_treated(source)


@settings(max_examples=800, deadline=None)
@given(st.lists(WORDS, max_size=20).map("".join))
def test_random_words_are_refused_or_a_utility(source):
    _is_well_treated(source)


def _operations(inner):
    def binary(pair, sign):
        return f"({pair[0]}){sign}({pair[1]})"

    return st.one_of(
        st.builds(binary, st.tuples(inner, inner), st.sampled_from(["+", "-", "*", "/", "**"])),
        st.builds(lambda a, b, c: f"{a}*{b} - {c}", inner, inner, inner),
        inner.map(lambda a: f"-{a}"),
        st.builds(lambda f, a: f"{f}({a})", st.sampled_from(sorted(FUNCTIONS)), inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda a: f"min({', '.join(a)})"),
    )


FORMULAS = st.recursive(
    st.one_of(st.just("x"), st.floats(-5, 5).map(repr), st.integers(0, 9).map(str)),
    _operations,
    max_leaves=12,
)


@settings(max_examples=600, deadline=None)
@given(FORMULAS)
def test_the_printed_tree_reads_back_as_itself(source):
    try:
        tree = parse(source)
    except ParseError:
        return
    assert parse(text(tree)) == tree
    hash(tree)
    try:
        while (plain := normal(tree)) != tree:  # it ends
            tree = plain
    except InvalidUtility:
        return


@settings(max_examples=500, deadline=None)
@given(FORMULAS)
def test_random_formulas_are_refused_or_round_trip(source):
    _is_well_treated(source)


def test_minimal_parentheses():
    for source in ["x - (x - 1)*2", "-x**2", "(-2)**x", "x**-0.5", "2**x**3", "(x**2)**3",
                   "x/(2*x)", "x/(x/2)", "-(x + 1)*log(x)", "x**-x", "-2*x/log(x)"]:  # fmt: skip
        tree = parse(source)
        assert parse(text(tree)) == tree
        assert len(text(tree).replace(" ", "")) <= len(source.replace(" ", "")) + 1
    assert text(parse("((x)) + (2.50*(x))")) == "x + 2.5*x"
    assert depth(parse("+".join(["x"] * 400))) == 2


MEANINGS = {
    "-max(0, 1-x)": "min(x, 1) - 1", "-relu(0.5-x)": "min(x, 0.5) - 0.5",
    "-softplus(-x)": "logsigmoid(x)", "ln(x)": "log(x)", "log2(8*x) - 3": "log(x)/log(2)",
    "log10(x)": "log(x)/log(10)", "-abs(x-0.3)": "min(x-0.3, 0.3-x)", "arcsinh(x)": "asinh(x)",
    "LogSigmoid(4)": "logsigmoid(4*x)", "LogSigmoid(beta=4.0) + Log()": "logsigmoid(4*x) + log(x)",
    "LabelSmoothing(eps=0.25)": "0.75*logsigmoid(x) + 0.25*logsigmoid(-x)",
    "Hinge(0.5)": "min(x, 0.5)", "2*Squared(target=1)": "-2*(1 - x)**2", "expit(x)": "sigmoid(x)",
    "Sine(1)(x + 0.1)": "sin(x + 0.1)", "Quadratic(c=0.25)": "x - 0.25*x**2",
    "minimum(x, 0.5)": "min(x, 0.5)", "pow(x, 0.5)": "sqrt(x)", "log_sigmoid(x)": "logsigmoid(x)",
}  # fmt: skip


@pytest.mark.parametrize("source", MEANINGS)
def test_losses_and_families_are_read_as_people_write_them(source):
    gaps = [0.1, 0.45, 0.9]
    assert utility(source)(gaps) == pytest.approx(utility(MEANINGS[source])(gaps), rel=1e-14)


@pytest.mark.parametrize(("source", "error", "hint"), [
    ("-logsigmoid(x)", NotConcave, "looks like a loss: pass its negative"),
    ("softplus(0.3-x)", NotConcave, "looks like a loss"), ("max(0, 0.5-x)", NotConcave, "a loss"),
    ("1 - Exponential(3)", NotConcave, "a loss"), ("x^2", ParseError, r"power is written \*\*"),
    ("logsigmoid(beta*x)", ParseError, "write a number"), ("Log(3)", ParseError, "takes nothing"),
    ("Power(g=2)", ParseError, "g < 1"), ("LogSigmoid(x)", ParseError, "no number"),
    ("LogSigmoid(beta=1, beta=2)", ParseError, "twice"), ("-Hinge(1)", NotConcave, "a loss"),
    ("x**-2", NotConcave, "a loss"), ("2x", ParseError, r"written 2\*x"),
    ("x ln x", ParseError, r"product is written \*"), ("x + log", ParseError, r"write log\(x\)"),
    ("LogSigmoid", ParseError, r"write LogSigmoid\(beta\)"),
    ("log(x).real", ParseError, "column 7"),
    ("np.log(x)", ParseError, "stand alone"), ("log(gap)", ParseError, "the gap is called x"),
    ("logsigmoid(x - margin)", ParseError, "write a number"),
    ("hinge(x)", ParseError, r"is Hinge\(m\) meant"), ("0,5*x", ParseError, "have a point"),
    ("inf*x", ParseError, "finite"), ("lambda x: x", ParseError, "formula in x alone"),
    ("PlackettLuce()", InvalidUtility, "whole ranking"),
    ("\u2212x", ParseError, "minus is written -"),
    ("pow(x)", ParseError, "two arguments")])  # fmt: skip
def test_errors_hint_at_what_was_meant(source, error, hint):
    with pytest.raises(error, match=hint):
        utility(source)


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("log(sigmoid(x))", "logsigmoid(x)"),
        ("-log(1 + exp(-x))", "logsigmoid(x)"),
        ("-log(exp(-4*x) + 1)", "logsigmoid(4*x)"),
        ("2*log(1/(1 + exp(-x))) + x", "2*logsigmoid(x) + x"),
        ("-log1p(exp(-(x - 0.5)))", "logsigmoid(x - 0.5)"),
        ("sin(x)/1", "sin(x)"),
        ("(x - x + 2)*log(x)", "2*log(x)"),
        ("-2*x*(3*x - 3)/3", "2*x - 2*x**2"),
        ("(3*x + 1)/(2*x + 2)", "1.5 - 1/(x + 1)"),
        ("4/(2*sqrt(x + 1))*-1", "-2*(x + 1)**-0.5"),
    ],
)
def test_families_are_known_however_they_are_written(written, short):
    assert utility(written) == utility(short)
