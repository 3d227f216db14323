"""Values that break programs which trust them, as YAML texts and as what they are read as."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "zero": "0",
    "minus one": "-1",
    "a million million": "1000000000000",
    "forty digits": "9" * 40,
    "five thousand digits": "9" * 5000,
    "a fraction": "0.37",
    "a tiny number": "5e-324",
    "a huge number": "1e308",
    "infinite": ".inf",
    "not a number": ".nan",
    "an empty word": '""',
    "a word": "zebra",
    "a path upwards": "../../../etc/passwd",
    "a home of nobody": "~no-such-user-at-all/x",
    "a NUL": '"a\\0b"',
    "an escape sequence": '"\\e]0;owned\\a\\e[31mred"',
    "half a surrogate pair": '"\\ud800"',
    "right to left": '"gnp\\u202Efdp.exe"',
    "a Cyrillic letter": "clаssifier",
    "very long": "x" * 5_000,
    "a variable": "$nobody",
    "a variable of itself": "$$x",
    "a hub": "timm/resnet18.hf-hub:x/y",
    "an address": "s3://",
    "a broken address": "http://[::1",
    "an empty list": "[]",
    "a list": "[1]",
    "a list of words": "[a, a]",
    "a long list": f"[{', '.join(['1'] * 200)}]",
    "a list of lists": "[[[[[[[[]]]]]]]]",
    "a hundred levels": "[" * 100,
    "an empty mapping": "{}",
    "a mapping": "{a: 1}",
    "a mapping of mappings": "{kind: {kind: {kind: [1]}}}",
    "a wrong kind": "{kind: [1]}",
    "a number as a key": "{1: 2}",
    "a list as a key": "{[1]: 2}",
    "many keys": f"{{{', '.join(f'key{number}: 1' for number in range(200))}}}",
    "a date": "!!timestamp 2024-01-02",
    "no date": "!!timestamp x",
    "bytes": "!!binary aGVsbG8=",
    "a set": "!!set {a, b}",
    "no number": "!!int x",
    "no truth": "!!bool x",
    "an object": "!!python/object/apply:os.system [id]",
    "an alias of nothing": f"*{'a' * 20_000}",
}
"""Each stands behind `key: ` in flow style, on one line."""

texts = st.text(max_size=60) | st.text(st.characters(codec=None), max_size=20)
"""All characters, halves of surrogate pairs among them."""
scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**12, -(10**18), 10**40])
    | st.floats()
    | texts
)
json_like: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
