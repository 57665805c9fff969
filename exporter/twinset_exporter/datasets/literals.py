"""Python literals, read as data.

`ast.literal_eval` runs nothing, but a line made to harm can still cost it minutes: a megabyte of an f-string's braces
does. So what is no plain literal is refused before it is parsed.
"""

from __future__ import annotations

import ast
import re

# What `repr` writes for dictionaries and lists of texts, numbers, True, False and None. Quotes may not touch: three of
# them would begin another kind of string. Possessive, so that it takes one walk over the text.
_STRING = r"""u?(?:'(?:[^'\\\r\n]|\\[\\'"abfnrtvxuUN])*+'|"(?:[^"\\\r\n]|\\[\\'"abfnrtvxuUN])*+")(?!['"])"""
_NUMBER = r"""[+-]?\d++(?:\.\d*+)?(?:[eE][+-]?\d++)?(?![\w.+-])"""
_PLAIN = re.compile(rf"(?:[\[\]{{}},:]|[ \t\r\n]++|{_STRING}|{_NUMBER}|(?:None|True|False)\b)*+", re.ASCII)


def parse(text: str) -> object:
    """Return the value of a literal of dictionaries, lists, texts, numbers, True, False and None.

    Memory grows with the text, by at most 600 times its length: bound that.

    Raises:
        ValueError: it is no such literal, or nested too deeply.
    """
    plain = _PLAIN.match(text)
    if plain is None or plain.end() != len(text):
        raise ValueError(f"no literal from place {plain.end() if plain else 0}")
    try:
        return ast.literal_eval(text)
    except SyntaxError as error:
        raise ValueError(error.msg) from error
    except (TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
