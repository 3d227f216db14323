"""Addresses that people give: refused when they hold a secret, and shown without one.

Addresses are written into study files, sent to MLflow and printed. Keys, passwords and tokens belong into
environment variables instead, which none of this touches.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "…"
SECRET_PARTS = ("secret", "token", "passw", "passphrase", "passcode", "pwd", "credential", "signature", "key")
"""Whatever has one of these in its name is a secret; case, blanks and punctuation don't count."""
SECRET_NAMES = frozenset(
    {"pass", "pw", "auth", "authorization", "bearer", "jwt", "sas", "sig", "pat", "assertion"}
)
"""Words of a name that make it one on their own."""
DATABASES = ("postgresql", "postgres", "mysql", "mssql", "sqlite")
"""Schemes of databases: only their whole address can say a password, so the environment's may hold one."""
NAMED_USERS = frozenset({"abfs", "abfss", *DATABASES})
"""Schemes whose addresses may name a user or a container before the `@`; elsewhere that is a key."""
ENVIRONMENT = {
    ("s3",): "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, on every machine",
    ("gs",): "set GOOGLE_APPLICATION_CREDENTIALS on every machine",
    ("az", "abfs", "abfss"): "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY on every machine",
    ("http", "https"): "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    ("databricks",): "set DATABRICKS_HOST and DATABRICKS_TOKEN",
    ("azureml",): "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    DATABASES: "leave it out of the study, and set MLFLOW_TRACKING_URI to the whole address",
}
"""What to set instead, by scheme."""
RAY = "set RAY_AUTH_MODE to token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
SHORTEST = 6
"""Values of secret environment variables that are shorter could be any word, and are not looked for."""
_ESCAPED = re.compile(r"\\[tnr]")
"""Tabs and line ends, which readers of addresses leave out, as messages write them."""
_PAIR = re.compile(r"(?<![^\s?&;#=,(\['\"])([^\s?&;#=,/'\"]{1,200})=([^&;#\s'\"]*)")
_NAME = re.compile(rf"([^?&;#=,]{{1,200}})=(?!{HIDDEN})")
_QUOTED_PAIR = re.compile(r"(['\"])([\w .-]{1,80})\1(\s*:\s*)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s,}'\"]+)")
_ADDRESS = re.compile(
    r"(?<![\w+.])[A-Za-z][\w+.-]{0,30}:/+[^\s'\"<>`]+"
    r"|(?<![^\s'\"(,=-])(?://)?[^\s'\"<>`=@/:]{1,200}:[^\s'\"<>`@]{1,200}@[^\s'\"<>`]+"
)
_MODEL = re.compile(r"models:/[A-Za-z0-9][\w.-]*@[A-Za-z][\w-]*[.,;:?)\]]*")
"""A model of MLflow's registry by its alias: what stands before that `@` is a study's name."""
_BEARER = re.compile(
    r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:[a-z]+\s+)?|\bbearer\s+(?=\S*\d|\S{16}))[\w.~+/=-]{6,}"
)
"""A header of HTTP, as libraries print it."""
_SPACED = re.compile(r"(://)[^/?#@\s]{0,200}:(?![\d/\s])[^\n@]{1,200}@")


def is_secret_name(name: str) -> bool:
    """Whether a value of that name is a secret: `client_secret`, `AccountKey`, `X-Amz-Signature`, `sig`, …"""
    for text in _spellings(_ESCAPED.sub("", name.lower())):
        if any(part in re.sub(r"[^a-z0-9]+", "", text) for part in SECRET_PARTS):
            return True
        if not SECRET_NAMES.isdisjoint(re.split(r"[^a-z0-9]+", text)):
            return True
    return False


def secret_in(address: str) -> str:
    """Say what an address holds that is secret, without repeating it; "" for one that may be written down."""
    for text in _spellings(address):
        if any(_has_password(piece) for piece in _pieces(text)):
            return "a password before the `@`"
        if _has_key_for_user(text):
            return "a user, a key or a token before the `@`"
        for name in _NAME.findall(_after_path(text)):
            if is_secret_name(name):
                return f"`{name}`" if re.fullmatch(r"[\w.-]{1,40}", name) else "a secret parameter"
    return ""


def refusal(address: str, *, instead: str = "") -> tuple[str, str] | None:
    """Return (message, hint) for an address that holds a secret, None for any other.

    The message shows the address without it, the hint names the environment variable to use: `instead`, or
    what fits the address's scheme.
    """
    found = secret_in(address)
    if not found:
        return None
    message = (
        f"is {shown(address)!r} with {found}, but addresses are written down: keys don't belong into them"
    )
    scheme = scheme_of(address)
    fitting = (hint for schemes, hint in ENVIRONMENT.items() if scheme in schemes)
    return message, instead or next(fitting, "put it into an environment variable")


def shown(address: str) -> str:
    """Return an address as it may be printed: without what stands before an `@` or is named as a secret.

    Also takes one that is malformed; rather more than less is then left out.
    """
    if _MODEL.fullmatch(address):
        return address
    text = "".join(_without_user(piece) for piece in _split(_without_user(address)))
    after = _after_path(text)
    for match in _NAME.finditer(after):
        if is_secret_name(match[1]):  # where its value ends, nobody can say who doesn't know it
            text = text[: len(text) - len(after) + match.end()] + HIDDEN
            break
    if secret_in(text):  # in another spelling, such as %40 for @
        text = text.partition("?")[0] + f"?{HIDDEN}"
    if secret_in(text):
        scheme, mark, _ = text.partition("://")
        text = f"{scheme}://{HIDDEN}" if mark else HIDDEN
    return text


def scrub(text: str) -> str:
    """Return a message without the secrets of addresses in it, nor any value of the environment's own
    secrets (AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD, …): libraries repeat what they were given."""
    if ":" in text:
        if "@" in text:
            text = _SPACED.sub(rf"\1{HIDDEN}@", text)
        if "@" in text or ":/" in text:
            text = _ADDRESS.sub(lambda match: shown(match[0]), text)
        text = _QUOTED_PAIR.sub(_without_quoted_value, text)
    if "earer" in text or "uthorization" in text:
        text = _BEARER.sub(rf"\1{HIDDEN}", text)
    if "=" in text:
        text = _PAIR.sub(lambda match: _without_value(match) if _sure(match) else match[0], text)
    for value in secrets_of_environment():
        text = text.replace(value, HIDDEN)
    return text


def secrets_of_environment() -> tuple[str, ...]:
    """Return the values of this process's environment that must never be printed."""
    # `os.environ` decodes every name at every look, which made a hundred thousand messages take a minute.
    raw = getattr(os.environ, "_data", None)
    return _secrets_of(tuple(raw.items()) if isinstance(raw, dict) else tuple(os.environ.items()))


@functools.lru_cache(maxsize=4)
def _secrets_of(environment: tuple[tuple[str | bytes, str | bytes], ...]) -> tuple[str, ...]:
    variables = {os.fsdecode(name): os.fsdecode(value) for name, value in environment}
    found = [
        value
        for name, value in variables.items()
        if len(value) >= SHORTEST and _names_a_secret(name) and not value.startswith(("/", "~", "./"))
    ]
    for address in variables.values():  # of a tracking server, a database, a proxy
        if "://" in address and "@" in address and _has_password(address):
            password = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
            found += [value for value in {password, unquote(password)} if len(value) >= SHORTEST]
    return tuple(found)


def scheme_of(address: str) -> str:
    """Return the scheme without a driver: "postgresql" of postgresql+psycopg2://…; "" without one."""
    scheme, mark, _ = address.partition("://")
    return scheme.partition("+")[0].lower() if mark else ""


@functools.lru_cache(maxsize=4096)
def _names_a_secret(name: str) -> bool:
    return is_secret_name(name) and not name.upper().endswith(("_PATH", "_FILE", "_MODE", "_SOCK", "_ID"))


def _spellings(text: str) -> Iterator[str]:
    """Give a text as it is, as it reads without percent signs, at most three layers deep, and with the usual
    letters in place of wide ones."""
    if not text.isascii():
        yield text
        text = HIDDEN.join(unicodedata.normalize("NFKC", part) for part in text.split(HIDDEN))
    for _ in range(3):
        yield text
        plain = unquote(text)
        if plain == text:
            return
        text = plain
    yield text


def _split(text: str) -> list[str]:
    """Return an address in parts, what parts it included: each value of a query may be an address itself."""
    return re.split(r"([?&;#=,\s])", text)


def _pieces(text: str) -> list[str]:
    return [text, *_split(text)[::2]]


def _after_path(text: str) -> str:
    """Return the query and what else follows a path: folders may well be called `key=1`."""
    parts = re.split(r"(?=[?&;#])", text, maxsplit=1)
    return parts[1] if len(parts) > 1 else ""


def _authority(rest: str) -> str:
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _has_password(address: str) -> bool:
    """Whether an address, with or without a scheme, has `:something@`, also where a password holds characters
    that end the host's part of a well-formed address."""
    head, mark, rest = address.partition("://")
    rest = rest if mark else head.removeprefix("//")
    authority = _authority(rest)
    if "@" not in rest or ":" not in authority:
        return False
    user, _, after = authority.partition("@")
    if ":" in user:
        return True  # and an @ follows
    tail = after.partition(":")[2]  # a port, as in user@host:5432
    return "@" in tail or (not tail.isdigit() and "@" in rest[len(authority) :])


def _has_key_for_user(address: str) -> bool:
    scheme = scheme_of(address)
    user, mark, _ = _authority(address.partition("://")[2]).rpartition("@")
    return bool(scheme) and scheme not in NAMED_USERS and bool(mark) and user != HIDDEN


def _without_user(piece: str) -> str:
    head, mark, rest = piece.partition("://")
    if _has_password(piece):
        return f"{head + mark if mark else ''}{HIDDEN}@{piece.rpartition('@')[2]}"
    if _has_key_for_user(piece):
        authority = _authority(rest)
        return f"{head}{mark}{HIDDEN}@{authority.rpartition('@')[2]}{rest[len(authority) :]}"
    return piece


def _without_value(match: re.Match[str]) -> str:
    return f"{match[1]}={HIDDEN}" if is_secret_name(match[1]) else match[0]


def _without_quoted_value(match: re.Match[str]) -> str:
    quote, name, colon = match[1], match[2], match[3]
    return f"{quote}{name}{quote}{colon}'{HIDDEN}'" if is_secret_name(name) else match[0]


def _sure(match: re.Match[str]) -> bool:
    """In prose, `KEY=VALUE` is no secret; it is in the query of an address, or with a longer name."""
    return match[1].lower() != "key" or match.string[match.start() - 1 : match.start()] in tuple("?&;#")
