"""Patterns of URIs.

``*``, ``?`` and ``[a-z]`` match within a folder, ``**`` matches any number of folders, also none. ``{a,b}`` matches one
of some words, and ``{000..099}`` one of some numbers.
"""

from __future__ import annotations

import re

from transforms.errors import UsageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAGIC = re.compile(r"[*?[]|\{\d+\.\.\d+\}|\{[^{}]*,[^{}]*\}")
_TOKEN = re.compile(
    r"""(?P<folders> (?<![^/]) \*\*+ / )  # a whole segment
      | (?P<all> \*\*+ ) | (?P<some> \* ) | (?P<one> \? )
      | \[ (?P<negated> [!^] )? (?P<set> \][^]]* | [^]]+ ) \]
      | \{ (?P<first> \d+ ) \.\. (?P<last> \d+ ) \}
      | \{ (?P<choices> [^{}]*,[^{}]* ) \}
      | .""",
    re.DOTALL | re.VERBOSE,
)
_MOST_NUMBERS = 100_000  # in braces
_SPECIAL, _BACKSLASH = re.compile(r"[][\\&~|^]"), r"\\\g<0>"  # characters with a meaning inside a set


def literal_prefix(pattern: str) -> str:
    """Return the part of a pattern before its first wildcard. All files that match start with it.

    Part of the name of a bucket is left out, because no file system lists buckets.
    """
    prefix = _MAGIC.split(pattern, maxsplit=1)[0]
    found = _SCHEME.match(prefix)
    return found[0] if found and "/" not in prefix[found.end() :] else prefix


def has_magic(uri: str) -> bool:
    """Return whether a URI has a wildcard."""
    return _MAGIC.search(uri) is not None


def translate(pattern: str) -> re.Pattern[str]:
    """Return a regular expression that matches whole URIs. Raises UsageError for a range such as ``[z-a]``.

    ``[!ab]`` and ``[^ab]`` match any other character; ``[[]`` matches a bracket.
    """
    expression = "".join(_translated(token) for token in _TOKEN.finditer(pattern))
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as exc:
        raise UsageError(f"{pattern} is not a valid pattern: {exc.msg}") from exc


def _translated(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "some":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "set":
            negated = "^" if token["negated"] else ""
            return f"(?!/)[{negated}{_SPECIAL.sub(_BACKSLASH, token['set'])}]"
        case "last":
            first, last, width = int(token["first"]), int(token["last"]), len(token["first"])
            if not 0 <= last - first < _MOST_NUMBERS:
                raise UsageError(f"{token[0]} is not a range of up to {_MOST_NUMBERS:,} numbers; write the least first")
            return f"(?:{'|'.join(f'{number:0{width}}' for number in range(first, last + 1))})"
        case "choices":
            return f"(?:{'|'.join(map(re.escape, token['choices'].split(',')))})"
        case _:
            return re.escape(token[0])
