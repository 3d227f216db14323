"""What is taken for a secret in an address, and what is left of it when it is shown."""

from __future__ import annotations

import pytest

from wsss.addresses import RAY, is_secret_name, refusal, scrub, secret_in, shown
from wsss.config.text.location import parse_location
from wsss.errors import Problem

C = "CANARYcanary42"
SECRET = [
    f"abfs://:{C}@account.dfs.core.windows.net/c",
    f"abfs://container:{C}@account.dfs.core.windows.net/c",
    f"abfs://container:12/{C}+==@account.dfs.core.windows.net/c",
    f"abfs://container@account.dfs.core.windows.net/?client_secret={C}",
    f"s3://bucket/x?secret_key={C}/1+2=",
    f"s3://bucket/x?scheme=http&access_key={C}",
    f"s3://bucket/x?client%5Fsecret={C}",
    f"s3://bucket/x?client%255Fsecret={C}",
    f"s3://bucket/x?secret_key=a&{C} {C}#{C}",
    f"s3://KEY:SE/{C}@bucket/x",
    f"s3://{C}@bucket/x",
    f"s3:/KEY:{C}@bucket/x",
    f"s3://bucket/x?endpoint_override=http://u:{C}@minio:9000",
    f"s3://bucket/x?endpoint_override=u:{C}@minio:9000",
    f"s3://bucket/x?endpoint_override=u%3A{C}%40minio:9000",
    f"s3://bucket/x#access_key={C}",
    f"s3://bucket/x;token={C}",
    f"s3://bucket/x&secret={C}",
    f"gs://{C}@bucket/x",
    f"hdfs://user:{C}@namenode:9000/x",
    f"file://u:{C}@host/x",
    f"postgresql://u:{C}@h/db",
    f"postgresql+psycopg2://me@x.org:{C}@h:5432/db",
    f"postgresql://u:p#{C}@h/db",
    f"postgresql://u%3A{C}@h/db",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{C}",
    f"mysql://h/db?user=u&passwd={C}",
    f"http://u:{C}@h",
    f"HTTPS://u:{C}@[::1]:5000",
    f"http://{C}@h",
    f"http%3A%2F%2Fu:{C}@h/x",
    f"http://user:pass {C}@h/x",
    f"https://h/x?sig={C}&sv=1",
    f"https://h/x?SharedAccessSignature={C}",
    f"https://h/x?X-Amz-Credential={C}",
    f"u:{C}@h:6379",
    f"//u:{C}@h/x",
    f"https:/u:{C}@h/x",
    f"https:\\\\u:{C}@h/x",
    f"https://\uff55\uff1a{C}\uff20h/x",
    f"https://h/x?\uff54oken={C}",
    f"sqlite:////x/y.db?key={C}",
]
HARMLESS = [
    "abfs://container@account.dfs.core.windows.net/x",
    "s3://bucket/a@b",
    "s3://bucket/key=1/x",
    "s3://bucket/x?region=eu&endpoint_override=minio.lab:9000&scheme=http",
    "abfs://container@account.dfs.core.windows.net/a@b",
    "/data/a:b@c",
    "/data/token=1",
    "sqlite:////home/me@host:x/m.db",
    "postgresql://user@host:5432/db",
    "postgresql://host1:1,host2:2/db",
    "http://[::1]:5000",
    "databricks://profile",
    "auto",
    "ray://host:10001",
    "runs",
]


@pytest.mark.parametrize("address", SECRET)
def test_an_address_with_a_secret_is_refused_and_shown_without_it(address: str) -> None:
    refused = refusal(address)
    assert refused is not None
    message, hint = refused
    assert C not in message and C not in hint and C not in shown(address)
    assert not secret_in(shown(address)), "what is shown holds no more secrets"
    with pytest.raises(ValueError, match="don't belong into them") as caught:
        parse_location(address)
    assert C not in str(caught.value)


@pytest.mark.parametrize("address", [one for one in SECRET if " " not in one])
@pytest.mark.parametrize("sentence", ["can't reach {}: timed out", "no such host in '{}'", '["{}", 1]'])
def test_what_a_library_repeats_is_scrubbed(address: str, sentence: str) -> None:
    assert C not in scrub(sentence.format(address))
    problem = Problem(address, sentence.format(address), f"try {address}")
    assert C not in str(problem) and C not in repr(problem)


@pytest.mark.parametrize("address", HARMLESS)
def test_an_address_without_a_secret_is_taken_as_it_is(address: str) -> None:
    assert refusal(address) is None
    assert shown(address) == address
    assert scrub(f"{address}: can't be used") == f"{address}: can't be used"


@pytest.mark.parametrize(
    ("address", "variable"),
    [
        (f"s3://bucket/x?secret_key={C}", "AWS_SECRET_ACCESS_KEY"),
        (f"gs://{C}@bucket/x", "GOOGLE_APPLICATION_CREDENTIALS"),
        (f"abfs://:{C}@account/x", "AZURE_STORAGE_ACCOUNT_KEY"),
        (f"http://u:{C}@h", "MLFLOW_TRACKING_PASSWORD"),
        (f"https://h/?token={C}", "MLFLOW_TRACKING_TOKEN"),
        (f"mysql+pymysql://u:{C}@h/db", "MLFLOW_TRACKING_URI"),
    ],
)
def test_the_hint_names_the_variable_to_use_instead(address: str, variable: str) -> None:
    refused = refusal(address)
    assert refused is not None
    assert variable in refused[1]


@pytest.mark.parametrize(
    "name",
    [
        *("key", "KEY", "secret_key", "accessKey", "account-key", "clientSecret", "PASSWORD", "db_passwd"),
        *("auth_token", "sas", "sig", "X-Amz-Signature", "x%2Dapi%2Dkey", "credentials", "user.pass", "Pwd"),
    ],
)
def test_names_of_secrets_in_every_spelling(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["region", "scheme", "endpoint_override", "sslmode", "keep", "project_id"])
def test_names_of_what_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


def test_words_of_an_error_stay_as_they_are() -> None:
    for text in (
        RAY,
        "-s x: must read KEY=VALUE, as in seed=1",
        "`resume x -s budget.hours=8` goes on",
        "give `-s tracking.uri=` a server, or a file: sqlite:////FOLDER/mlflow.db",
        "study.yaml:3: unknown key `tok` in the study (did you mean 'x'?)",
    ):
        assert scrub(text) == text


def test_a_secret_that_comes_into_the_environment_later_is_scrubbed_and_one_that_left_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WSSS_TEST_TOKEN", raising=False)
    assert scrub(f"it is {C}") == f"it is {C}"
    monkeypatch.setenv("WSSS_TEST_TOKEN", C)
    assert scrub(f"it is {C}") == "it is …"
    monkeypatch.setenv("WSSS_TEST_TOKEN", "another word")
    assert scrub(f"it is {C}, another word") == f"it is {C}, …"
    monkeypatch.delenv("WSSS_TEST_TOKEN")
    assert scrub("another word") == "another word"


def test_what_is_not_secret_of_an_address_is_shown() -> None:
    assert shown(f"ray://u:{C}@h:10001") == "ray://…@h:10001"
    assert shown(shown(f"s3://KEY:{C}@bucket/x")) == "s3://…@bucket/x"


def test_a_tab_in_a_name_hides_no_secret() -> None:
    address = f"https://h/x?to\tken={C}"
    assert refusal(address) and C not in shown(address)
    assert C not in scrub(repr(f"https://h/x?to\tken={C}"))


def test_values_of_the_environments_secrets_are_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{C}-1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:{C}%2F2@h/db")
    text = f"denied for {C}-1, user me, password {C}/2, as in {C}%2F2"
    assert scrub(text) == "denied for …, user me, password …, as in …"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "DATABASE_URL"])
def test_so_are_passwords_of_addresses_in_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"http://me:{C}%2F2@proxy:3128")
    assert C not in scrub(f"the proxy refused {C}/2") + scrub(f"for user me, {C}%2F2")
    monkeypatch.setenv("GITHUB_PAT", "ghp_" + C)
    assert C not in scrub(f"403 of ghp_{C}")


@pytest.mark.parametrize(
    "text",
    [
        f"headers: Authorization: Bearer {C}", f"{{'authorization': 'Basic {C}=='}}", f"sent bearer {C}",
        f"Authorization={C}", f'"Authorization":"token {C}"',
    ],
)  # fmt: skip
def test_headers_of_http_are_scrubbed(text: str) -> None:
    assert C not in scrub(f"401 {text}, as it was sent")


@pytest.mark.parametrize(
    "text", ["give it a bearer tokens can't be", "Authorization failed", "bearer of news"]
)
def test_words_about_headers_stay(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("text", ["x" * 10**6, "a:@" * 10**5, "://" + ":" * 10**6, "http://u:" * 10**5 + "@"])
def test_a_million_characters_take_no_time(text: str) -> None:
    for call in (scrub, shown, secret_in):
        call(text)


def test_an_alias_of_mlflow_s_registry_is_no_password() -> None:
    text = "--model: is 'models:/one@chief' (did you mean models:/one@champion, or models:/a-b.c@best?)"
    assert scrub(text) == text
    for secret in (f"models:/u:{C}@host", f"models://u:{C}@host/x", f"s3:/one@{C}:x@host"):
        assert C not in scrub(secret)
