"""Compares the evaluator with numexpr, and on whole numbers with Python, over generated expressions.

usage: compare.py CALCULATOR [COUNT] [SEED]
"""

import math
import random
import subprocess
import sys
import warnings

import numexpr
import numpy

warnings.simplefilter("ignore")
# Rounded correctly everywhere, so that they may stand inside of others.
EXACT = ["sqrt", "abs", "floor", "ceil"]
# Off by a bit in the last place, here or there: what is made of them would be further off.
ROUGH = ["exp", "log", "log10", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"]


def floats(draw, depth, functions):
    """An expression of floats."""
    # numexpr computes a rest as a - floor(a / b) * b, which is exact between whole numbers alone; Python does better.
    if ROUGH[0] not in functions and draw.random() < 0.1:
        return f"({draw.randint(0, 999)}.0 {draw.choice(['%', '//'])} {draw.choice(['', '-'])}{draw.randint(1, 99)}.0)"
    if depth == 0 or draw.random() < 0.15:
        return draw.choice([f"{draw.uniform(0, 100):.{draw.randint(1, 6)}f}", f"{draw.randint(1, 99)}.0", f"{draw.uniform(1, 9):.3f}e{draw.randint(-8, 8)}"])
    kind = draw.random()
    if kind < 0.7:
        op = draw.choice(["+", "-", "*", "/"] + (["%", "//"] if ROUGH[0] in functions else []))
        left, right = floats(draw, depth - 1, functions), floats(draw, depth - 1, functions)
        # With and without parentheses, so that precedence is compared too.
        return f"{left} {op} {right}" if draw.random() < 0.5 else f"({left} {op} {right})"
    if kind < 0.8:
        return f"-{floats(draw, depth - 1, functions)}"
    if kind < 0.85 and ROUGH[0] in functions:
        return f"({floats(draw, depth - 1, functions)}) ** {draw.choice(['2.0', '3.0', '0.5', '-1.0', '1.7'])}"
    return f"{draw.choice(functions)}({floats(draw, depth - 1, functions)})"


def one_rough(draw, depth):
    """An expression with one rough function around it, or none."""
    inner = floats(draw, depth, EXACT)
    kind = draw.random()
    if kind < 0.5:
        return inner
    if kind < 0.6:
        return f"({inner}) ** {draw.choice(['2.0', '3.0', '0.5', '-1.0', '1.7'])}"
    # numexpr's own hyperbolic functions are off by 2 ulp.
    return f"{draw.choice(ROUGH[:-3])}({inner})"


def wholes(draw, depth):
    """An expression of whole numbers, which Python computes exactly."""
    if depth == 0 or draw.random() < 0.15:
        return str(draw.randint(0, 10 ** draw.randint(1, 25)))
    kind = draw.random()
    if kind < 0.75:
        op = draw.choice(["+", "-", "*", "%", "//"])
        return f"({wholes(draw, depth - 1)}) {op} {wholes(draw, depth - 1)}"
    if kind < 0.85:
        return f"({wholes(draw, depth - 1)}) ** {draw.randint(0, 5)}"
    return f"-{wholes(draw, depth - 1)}"


def ours(calculator, expressions):
    run = subprocess.run([calculator], input="\n".join(expressions), capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def by_numexpr(expression):
    try:
        return float(numexpr.evaluate(expression, local_dict={}, optimization="none").item())
    except Exception:
        return None


def by_python(expression, names=None):
    try:
        return eval(expression, {"__builtins__": {}}, names or {})
    except Exception:
        return None


NAMES = {name: getattr(math, name.replace("arc", "a")) for name in EXACT + ROUGH if name != "abs"} | {"abs": abs}


def compare(title, expressions, calculator, reference, agree):
    both, differ = 0, []
    for expression, line in zip(expressions, ours(calculator, expressions), strict=True):
        theirs = reference(expression)
        if line.startswith("error") or theirs is None:
            continue
        both += 1
        if not agree(line, theirs):
            differ.append((expression, line, theirs))
    print(f"{len(expressions)} {title}: {both} answered by both, {len(differ)} different")
    for expression, mine, theirs in differ[:10]:
        print(f"  {expression}\n    {mine} and {theirs!r}")
    return both > 0 and not differ


def within_one_ulp(line, theirs):
    return not math.isfinite(theirs) or abs(float(line) - theirs) <= numpy.spacing(abs(theirs))


def same_float(line, theirs):
    return isinstance(theirs, complex) or float(line) == theirs


def main():
    calculator = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    sys.set_int_max_str_digits(0)

    shallow = [one_rough(draw, draw.randint(1, 4)) for _ in range(count)]
    deep = [floats(draw, draw.randint(1, 5), EXACT + ROUGH) for _ in range(count // 10)]
    whole = [wholes(draw, draw.randint(1, 4)) for _ in range(count // 10)]
    done = [
        compare("expressions of floats, by numexpr within 1 ulp", shallow, calculator, by_numexpr, within_one_ulp),
        compare("expressions of floats with nested functions, by Python", deep, calculator, lambda e: by_python(e, NAMES), same_float),
        compare("expressions of whole numbers, by Python", whole, calculator, by_python, lambda line, theirs: line == str(theirs)),
    ]
    sys.exit(0 if all(done) else 1)


main()
