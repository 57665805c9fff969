from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from twinset_server.access import Access, Scope, Token, TokenFileError, new_token, read_tokens, to_toml
from twinset_server.errors import PermissionDenied, StartupError, TooManyCalls, Unauthenticated


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(path: Path, *tokens: Token) -> Path:
    temporary = path.with_suffix(".new")
    temporary.write_text("\n".join(map(to_toml, tokens)))
    return temporary.replace(path)


def test_a_written_token_is_read_back(tmp_path: Path) -> None:
    _, reads = new_token("shop-1.x", [Scope.READ, Scope.WRITE], 2.5)
    _, rules = new_token("ops", [Scope.ADMIN])
    assert read_tokens(write(tmp_path / "tokens.toml", reads, rules)) == [reads, rules]


def test_the_file_holds_the_digest_and_not_the_token(tmp_path: Path) -> None:
    secret, token = new_token("shop", [Scope.READ])
    path = write(tmp_path / "tokens.toml", token)
    assert secret not in path.read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in path.read_text()


def test_a_token_is_good_for_its_scopes_alone(tmp_path: Path) -> None:
    secret, token = new_token("shop", [Scope.READ])
    access = Access(write(tmp_path / "tokens.toml", token))
    assert access.check(secret, Scope.READ) == token
    for scope in (Scope.WRITE, Scope.ADMIN):
        with pytest.raises(PermissionDenied, match=f"'shop' has read, and this call needs {scope}"):
            access.check(secret, scope)


@pytest.mark.parametrize("secret", [None, "", "twinset_other", "\udcff"])
def test_a_missing_or_unknown_token_is_refused(tmp_path: Path, secret: str | None) -> None:
    access = Access(write(tmp_path / "tokens.toml", new_token("shop", [Scope.READ])[1]))
    with pytest.raises(Unauthenticated):
        access.check(secret, Scope.READ)


def test_a_changed_file_is_taken_up_within_a_second(tmp_path: Path, clock: Clock) -> None:
    old_secret, old = new_token("shop", [Scope.READ])
    new_secret, new = new_token("shop", [Scope.READ])
    path = write(tmp_path / "tokens.toml", old)
    access = Access(path, clock=clock)
    write(path, new)
    clock.now_s += 1
    access.check(new_secret, Scope.READ)
    with pytest.raises(Unauthenticated):
        access.check(old_secret, Scope.READ)


def test_a_file_that_breaks_leaves_the_tokens_that_were(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    secret, token = new_token("shop", [Scope.READ])
    path = write(tmp_path / "tokens.toml", token)
    access = Access(path, clock=clock)
    path.write_text("[tokens")
    clock.now_s += 1
    access.check(secret, Scope.READ)
    assert "tokens stay as they were" in caplog.text
    path.unlink()
    clock.now_s += 1
    access.check(secret, Scope.READ)


def test_calls_over_a_tokens_rate_are_told_when_to_come_back(tmp_path: Path, clock: Clock) -> None:
    secret, token = new_token("shop", [Scope.READ], calls_per_s=4)
    access = Access(write(tmp_path / "tokens.toml", token), workers=2, clock=clock)
    for _ in range(2):
        access.check(secret, Scope.READ)
    with pytest.raises(TooManyCalls, match="may make 4 calls a second") as caught:
        access.check(secret, Scope.READ)
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now_s += 0.5
    access.check(secret, Scope.READ)
    with pytest.raises(TooManyCalls):
        access.check(secret, Scope.READ)


def test_a_rate_is_not_forgotten_when_another_token_changes(tmp_path: Path, clock: Clock) -> None:
    secret, token = new_token("shop", [Scope.READ], calls_per_s=0.1)
    path = write(tmp_path / "tokens.toml", token)
    access = Access(path, clock=clock)
    access.check(secret, Scope.READ)
    write(path, token, new_token("other", [Scope.READ])[1])
    clock.now_s += 1
    with pytest.raises(TooManyCalls):
        access.check(secret, Scope.READ)


GOOD = "a" * 64


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[tokens", "no TOML"),
        ("x = 1", "expected tables"),
        ("tokens = 1", "expected tables"),
        ("tokens.shop = 1", "expected sha256"),
        (f'[tokens.shop]\nsha256 = "{GOOD}"', "scopes"),
        ('[tokens.shop]\nsha256 = "12"\nscopes = ["read"]', "64 hexadecimal digits"),
        (f'[tokens.shop]\nsha256 = "{GOOD}"\nscopes = []', "at least one scope"),
        (f'[tokens.shop]\nsha256 = "{GOOD}"\nscopes = ["reads"]', "reads"),
        (f'[tokens.shop]\nsha256 = "{GOOD}"\nscopes = ["read"]\ncalls_per_s = 0', "calls_per_s"),
        (f'[tokens.shop]\nsha256 = "{GOOD}"\nscopes = ["read"]\nscope = 1', "scope is no setting"),
    ],
)
def test_a_malformed_file_is_told_with_its_place(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    with pytest.raises(TokenFileError, match=told) as caught:
        read_tokens(path)
    assert str(path) in str(caught.value)
    with pytest.raises(StartupError, match="twinset-server token"):
        Access(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="can't be read"):
        Access(tmp_path / "tokens.toml")
