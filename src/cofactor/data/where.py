"""Filter expressions over item metadata: a small language that is parsed here and never executed as code.

The library, the command line and the service use the same expressions, in the argument `where`::

    year >= 1990 and genre in ("Drama", "Comedy") and not title contains "Part"
    1990 <= year <= 1999 or year is missing

A condition compares a column with numbers, strings in single or double quotes, `true` or `false`:

- `=` (or `==`), `!=`, `<`, `<=`, `>` and `>=`, with the column on either side; `1990 <= year < 2000` and
  `year between 1990 and 1999` are ranges, and `between` includes both ends
- `in (...)` and `not in (...)`: equal to one of the values, or to none
- `contains` and `not contains`: a string has this part, or a list has this element
- `is missing` and `is not missing`

`not`, `and` and `or` combine conditions, in this order of precedence, and parentheses group them. Keywords are in upper
or lower case. The name of a column is in backticks if it is a keyword or contains characters other than letters, digits
and underscores. A quote in a string in the same quotes, and a backtick in a name, is doubled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from cofactor.checks import describe
from cofactor.data.id_columns import is_unicode
from cofactor.errors import ParameterError

__all__ = ["MAX_LENGTH", "BooleanOperation", "Condition", "Negation", "Predicate", "Value", "error_at", "parse"]

MAX_LENGTH = 2_000
"""Maximum length of an expression, in characters."""
MAX_DEPTH = 50
"""Maximum depth of nested parentheses and `not`."""

KEYWORDS = ("and", "or", "not", "in", "between", "contains", "is", "missing", "true", "false")
REVERSED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
EQUAL = ("=", "==", "!=")

TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<string>"(?:[^"]|"")*"|'(?:[^']|'')*')
    |(?P<column>`(?:[^`]|``)+`)
    |(?P<name>[^\W\d]\w*)
    |(?P<symbol><=|>=|!=|==|[=<>(),]))""",
    re.VERBOSE,
)

Value: TypeAlias = str | float | bool
"""Value that a column is compared with."""


@dataclass(frozen=True)
class Predicate:
    """Condition on one column.

    Parameters
    ----------
    column : str
        Name of the column.
    operators : tuple of str
        "missing"; "in" (equal to one of the values); "contains"; one of "<", "<=", ">" and ">="; or two of the latter
        for a range.
    values : tuple of str, float or bool, default ()
        Values that the column is compared with: one for each operator, or any number for "in".
    negated : bool, default False
        Whether the condition must not hold. Except for "missing", the column must still have a value.
    position : int, default 1
        Position of the column in the expression, from 1.
    """

    column: str
    operators: tuple[str, ...]
    values: tuple[Value, ...] = ()
    negated: bool = False
    position: int = field(default=1, compare=False)

    def __str__(self) -> str:
        is_plain = re.fullmatch(r"[^\W\d]\w*", self.column) and self.column.lower() not in KEYWORDS
        name = self.column if is_plain else f"`{self.column.replace('`', '``')}`"
        values, negation = [_literal(value) for value in self.values], "not " if self.negated else ""
        match self.operators:
            case ("missing",):
                return f"{name} is {negation}missing"
            case ("in",) if len(values) == 1:
                return f"{name} {'!=' if self.negated else '='} {values[0]}"
            case ("in",):
                return f"{name} {negation}in ({', '.join(values)})"
            case (low, high):
                return f"{values[0]} {REVERSED[low]} {name} {high} {values[1]}"
            case _:
                return f"{name} {negation}{self.operators[0]} {values[0]}"


@dataclass(frozen=True)
class Negation:
    """Negation of a condition.

    Parameters
    ----------
    operand : Condition
        The other condition.
    """

    operand: Condition

    def __str__(self) -> str:
        return f"not {_grouped(self.operand, 'and', 'or')}"


@dataclass(frozen=True)
class BooleanOperation:
    """Conjunction or disjunction of conditions.

    Parameters
    ----------
    operator : {"and", "or"}
        "and" if all must hold.
    operands : tuple of Condition
        Two or more conditions.
    """

    operator: str
    operands: tuple[Condition, ...]

    def __str__(self) -> str:
        grouped_operators = ("and", "or") if self.operator == "and" else ("or",)
        return f" {self.operator} ".join(_grouped(operand, *grouped_operators) for operand in self.operands)


Condition: TypeAlias = Predicate | Negation | BooleanOperation
"""Parsed expression."""


def parse(text: str) -> Condition:
    """Parse a filter expression.

    Parameters
    ----------
    text : str
        Expression of at most 2,000 characters, with parentheses and `not` nested at most 50 deep. The language is
        described at the top of this module.

    Returns
    -------
    Condition
        Parsed expression; `str` converts it back to text.

    Raises
    ------
    ParameterError
        If the text is not an expression; the message gives the position.

    Examples
    --------
    >>> print(parse("YEAR between 1990 and 1999 AND not (genre == 'War' or title is missing)"))
    1990 <= YEAR <= 1999 and not (genre = "War" or title is missing)
    >>> parse("year >")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.ParameterError: the where expression, character 7: a number, a string, true or false is ...
    """
    if not isinstance(text, str):
        raise ParameterError(f"the where expression must be a string such as 'year >= 1990', not {describe(text)}")
    if len(text) > MAX_LENGTH:
        raise ParameterError(f"the where expression must have at most {MAX_LENGTH:,} characters; got {len(text):,}")
    if not is_unicode(text):
        raise ParameterError("the where expression contains an unpaired surrogate")
    return _Parser(list(_tokens(text))).parse()


def error_at(position: int, problem: str) -> ParameterError:
    """Return an error that names the position in the expression.

    Parameters
    ----------
    position : int
        Position, from 1.
    problem : str
        What is wrong, and what to do.

    Returns
    -------
    ParameterError
        The error, to be raised.
    """
    return ParameterError(f"the where expression, character {position}: {problem}")


class _Token(NamedTuple):
    """Part of an expression. `type`: number, string, column, keyword, symbol or end."""

    type: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    text = text.rstrip()
    start = 0
    while start < len(text):
        match = TOKEN.match(text, start)
        if match is None or match.lastgroup is None:
            start = len(text) - len(text[start:].lstrip())
            problem = "this quote is not closed" if text[start] in "\"'`" else f"{text[start]!r} has no meaning here"
            raise error_at(start + 1, problem)
        token_type, token = match.lastgroup, match[match.lastgroup]
        if token_type == "name":
            is_keyword = token.lower() in KEYWORDS
            token_type, token = ("keyword", token.lower()) if is_keyword else ("column", token)
        elif token_type in ("string", "column"):
            token = token[1:-1].replace(token[0] * 2, token[0])
        yield _Token(token_type, token, match.start(match.lastgroup) + 1)
        start = match.end()
    yield _Token("end", "", len(text) + 1)


class _Parser:
    """Recursive-descent parser for the tokens of an expression."""

    def __init__(self, tokens: list[_Token]):
        self._tokens = tokens
        self._index = 0
        self._depth = 0

    def parse(self) -> Condition:
        condition = self._operation("or")
        if self._token.type != "end":
            raise self._required("`and`, `or` or the end")
        return condition

    @property
    def _token(self) -> _Token:
        return self._tokens[self._index]

    def _take(self, *texts: str) -> str | None:
        """Return the next token and move past it if it is one of these keywords or symbols."""
        token = self._token
        if token.type not in ("keyword", "symbol") or token.text not in texts:
            return None
        self._index += 1
        return token.text

    def _require(self, text: str) -> None:
        if self._take(text) is None:
            raise self._required(f"`{text}`")

    def _required(self, expected: str) -> ParameterError:
        token = self._token
        return error_at(
            token.position, f"{expected} is required, not {describe(token.text) if token.text else 'the end'}"
        )

    def _operation(self, operator: str) -> Condition:
        operands: list[Condition] = []
        while not operands or self._take(operator):
            operands.append(self._operation("and") if operator == "or" else self._operand())
        return operands[0] if len(operands) == 1 else BooleanOperation(operator, tuple(operands))

    def _operand(self) -> Condition:
        token = self._token
        opening = self._take("not", "(")
        if opening is None:
            return self._predicate()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise error_at(token.position, f"parentheses and `not` may be nested at most {MAX_DEPTH} deep")
        condition = Negation(self._operand()) if opening == "not" else self._operation("or")
        if opening == "(":
            self._require(")")
        self._depth -= 1
        return condition

    def _predicate(self) -> Predicate:
        if self._token.type == "column":
            return self._test(self._column())
        value = self._value("a column, a value, `not` or `(`")
        symbol = self._take(*REVERSED, *EQUAL)
        if symbol is None:
            raise self._required("a comparison such as `<=`")
        column = self._column()
        if symbol in EQUAL:
            return Predicate(column.text, ("in",), (value,), symbol == "!=", column.position)
        if upper := self._take(*REVERSED):
            return self._comparison(column, (REVERSED[symbol], upper), (value, self._value()))
        return self._comparison(column, (REVERSED[symbol],), (value,))

    def _test(self, column: _Token) -> Predicate:
        """Parse a condition after its column name."""
        if self._take("is"):
            is_negated = self._take("not") is not None
            self._require("missing")
            return Predicate(column.text, ("missing",), (), is_negated, column.position)
        if self._take("between"):
            low = self._value()
            self._require("and")
            return self._comparison(column, (">=", "<="), (low, self._value()))
        if symbol := self._take(*REVERSED):
            return self._comparison(column, (symbol,), (self._value(),))
        if symbol := self._take(*EQUAL):
            return Predicate(column.text, ("in",), (self._value(),), symbol == "!=", column.position)
        is_negated = self._take("not") is not None
        operator = self._take("in", "contains")
        if operator is None:
            raise self._required("a comparison, `in`, `between`, `contains` or `is`")
        values = self._list() if operator == "in" else (self._value(),)
        return Predicate(column.text, (operator,), values, is_negated, column.position)

    def _comparison(self, column: _Token, operators: tuple[str, ...], values: tuple[Value, ...]) -> Predicate:
        if any(isinstance(value, bool) for value in values) or len(set(map(type, values))) > 1:
            raise error_at(column.position, f"column {column.text!r} must be compared with numbers or with strings")
        return Predicate(column.text, operators, values, False, column.position)

    def _column(self) -> _Token:
        token = self._token
        if token.type != "column":
            raise self._required("a column")
        self._index += 1
        return token

    def _list(self) -> tuple[Value, ...]:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        return tuple(values)

    def _value(self, expected: str = "a number, a string, true or false") -> Value:
        token = self._token
        if word := self._take("true", "false"):
            return word == "true"
        if token.type not in ("number", "string"):
            raise self._required(expected)
        self._index += 1
        if token.type == "string":
            return token.text
        number = float(token.text)
        if not math.isfinite(number):
            raise error_at(token.position, "the number is too large for 64 bits")
        return number


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"{}"'.format(value.replace('"', '""')) if isinstance(value, str) else repr(value).removesuffix(".0")


def _grouped(condition: Condition, *operators: str) -> str:
    """Format a condition, in parentheses if it is an operation with one of these operators."""
    is_grouped = isinstance(condition, BooleanOperation) and condition.operator in operators
    return f"({condition})" if is_grouped else str(condition)
