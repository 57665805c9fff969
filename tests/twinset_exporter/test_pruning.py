"""Only what nobody uses is removed, and a catalogue that can't be read counts as using everything."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.ensembles import publish_tiny_ensemble
from fakes.models import tiny_contract
from fakes.published import Run, publish
from twinset_exporter.repository import Repository
from twinset_server.catalog.store import schema


def names(repository: Repository) -> list[str]:
    return sorted(entry.name for entry in repository.root.iterdir())


@pytest.fixture
def models(repository: Repository) -> list[str]:
    """Three models: a, b and c, each of its own fingerprint."""
    return [publish(repository, letter).model for letter in "abc"]


Fill = Callable[..., Path]


@pytest.fixture
def catalogue(tmp_path: Path) -> Fill:
    """Make a catalogue whose one space is filled by a model, by the server's own code."""

    def fill(model: str | None, fingerprint: str, folder: str = "catalogue") -> Path:
        path = tmp_path / folder
        path.mkdir()
        connection = schema.open_writer(path / "catalog.sqlite")
        connection.execute(
            "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES ('visual', 4, 'cosine', ?, ?)",
            (fingerprint, model),
        )
        connection.close()
        return path

    return fill


def test_what_would_go_is_listed_and_nothing_is_removed(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue(models[0], "a0" * 32)
    code, out, _ = run("prune", "--repository", repository.root, "--catalog", used, "--keep", models[1])
    assert code == 0
    lines = out.splitlines()
    assert any(line.startswith(models[0]) and f"in use: space visual of {used}" in line for line in lines)
    assert any(line.startswith(models[1]) and "kept: --keep" in line for line in lines)
    assert any(line.startswith(models[2]) and "unused: would be removed" in line for line in lines)
    assert "add --yes" in out
    assert names(repository) == models


def test_with_yes_the_unused_go_and_the_used_stay(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue(models[0], "a0" * 32)
    code, out, _ = run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 0
    assert out.count("removed") == 2
    assert names(repository) == [models[0]]


def test_several_catalogues_keep_each_its_own(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    first, second = catalogue(models[0], "a0" * 32, "first"), catalogue(models[2], "c0" * 32, "second")
    run("prune", "--repository", repository.root, "--catalog", first, "--catalog", second, "--yes")
    assert names(repository) == [models[0], models[2]]


def test_a_model_is_in_use_by_its_fingerprint_too(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue("gone-12345678", "b0" * 32)
    run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert names(repository) == [models[1]]


def test_a_model_in_use_is_refused_by_name_and_nothing_else_goes(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue(models[0], "a0" * 32)
    code, _, err = run("prune", models[0], models[2], "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 1
    assert f"refused, nothing was removed: {models[0]} is in use: space visual of {used}" in err
    assert names(repository) == models


def test_only_what_is_named_goes(run: Run, repository: Repository, models: list[str], catalogue: Fill) -> None:
    used = catalogue(models[0], "a0" * 32)
    run("prune", models[2], "--repository", repository.root, "--catalog", used, "--yes")
    assert names(repository) == models[:2]


def test_foreign_folders_are_left_alone(run: Run, repository: Repository, models: list[str], catalogue: Fill) -> None:
    (repository.root / "yolo" / "1").mkdir(parents=True)
    (repository.root / "yolo" / "config.pbtxt").write_text('name: "yolo"')
    (repository.root / "README.md").touch()
    _, out, _ = run("prune", "--repository", repository.root, "--keep", models[0], "--yes")
    assert "left alone" in out
    assert names(repository) == ["README.md", models[0], "yolo"]


def test_without_a_word_on_what_is_in_use_nothing_is_tried(run: Run, repository: Repository, models: list[str]) -> None:
    code, _, err = run("prune", "--repository", repository.root, "--yes")
    assert code == 2
    assert "--catalog DIR" in err
    assert names(repository) == models


def lock(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("INSERT INTO meta VALUES ('x', 1)")
    return connection


def test_a_locked_catalogue_is_an_error_and_nothing_goes(
    run: Run, repository: Repository, models: list[str], catalogue: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinset_exporter.catalogues._PATIENCE_S", 0.05)
    used = catalogue(models[0], "a0" * 32)
    plain = sqlite3.connect(used / "catalog.sqlite", isolation_level=None)
    plain.execute("PRAGMA journal_mode = DELETE")
    plain.close()
    holder = lock(used)
    try:
        code, _, err = run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    finally:
        holder.close()
    assert code == 1
    assert "can't be read (database is locked)" in err
    assert names(repository) == models


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA application_id = 1", "no catalogue of twinset-server"),
        ("UPDATE meta SET value = 99 WHERE name = 'version'", "schema version 99"),
        ("DROP TABLE spaces", "can't be read"),
    ],
)
def test_a_catalogue_of_another_kind_is_an_error_and_nothing_goes(
    run: Run, repository: Repository, models: list[str], catalogue: Fill, statement: str, reason: str
) -> None:
    used = catalogue(None, "d0" * 32)
    connection = sqlite3.connect(used / "catalog.sqlite")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(statement)
    connection.commit()
    connection.close()
    code, _, err = run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 1
    assert reason in err
    assert names(repository) == models


def test_rubbish_for_a_catalogue_is_an_error(
    run: Run, repository: Repository, models: list[str], tmp_path: Path
) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"rubbish" * 1000)
    code, _, err = run("prune", "--repository", repository.root, "--catalog", tmp_path, "--yes")
    assert code == 1
    assert "nothing was removed" in err
    assert names(repository) == models


@pytest.mark.parametrize(
    ("option", "value", "reason"), [("--catalog", "/none", "no catalogue in /none"), ("--keep", "x", "no such model")]
)
def test_what_isn_t_there_is_a_wrong_call(
    run: Run, repository: Repository, models: list[str], option: str, value: str, reason: str
) -> None:
    code, _, err = run("prune", "--repository", repository.root, option, value, "--yes")
    assert code == 2
    assert reason in err
    assert names(repository) == models


def test_a_catalogue_that_a_server_writes_to_is_read(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue(models[0], "a0" * 32)
    writer = schema.open_writer(used / "catalog.sqlite")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE spaces SET model = 'uncommitted'")
    try:
        run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    finally:
        writer.close()
    assert names(repository) == [models[0]]


def test_the_model_that_serves_and_the_one_before_stay(
    run: Run, repository: Repository, models: list[str], catalogue: Fill
) -> None:
    used = catalogue(models[0], "a0" * 32)
    writer = schema.open_writer(used / "catalog.sqlite")
    for number, (model, state) in enumerate(zip(models, ("gone", "kept", "active"), strict=True), 1):
        writer.execute("INSERT INTO model_generations VALUES (?, ?, ?, 0, 0)", (number, model, state))
        if number > 1:
            writer.execute(
                "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES (?, 4, 'cosine', ?, ?)",
                (f"visual#{number}", f"{'abc'[number - 1]}0" * 32, model),
            )
        writer.execute("INSERT INTO model_spaces VALUES (?, 'visual', ?)", (number, number))
    writer.close()
    code, out, _ = run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 0, out
    assert names(repository) == models[1:]


def test_what_a_killed_prune_left_is_removed_by_the_next_publication(repository: Repository) -> None:
    (repository.root / ".removing-old-12345678" / "1").mkdir(parents=True)
    publish(repository, "a")
    assert names(repository) == ["a-a0a0a0a0"]


def test_the_components_of_an_ensemble_in_use_stay_with_it(run: Run, repository: Repository, catalogue: Fill) -> None:
    ensemble = publish_tiny_ensemble(repository)
    retrained = publish_tiny_ensemble(repository, head_seed=1)
    used = catalogue(retrained.path.name, tiny_contract().fingerprint)
    code, out, _ = run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 0
    assert f"in use: a part of {retrained.path.name}" in out
    # What the two share stays, and the heads of the old one go with it.
    assert names(repository) == sorted([retrained.path.name, *retrained.contract.components])
    assert set(ensemble.contract.components) & set(names(repository)) == {
        *ensemble.contract.components[:2],
    }


def test_a_component_of_an_ensemble_that_stays_is_refused_by_name(
    run: Run, repository: Repository, catalogue: Fill
) -> None:
    ensemble = publish_tiny_ensemble(repository)
    head = ensemble.contract.components[2]
    before = names(repository)
    used = catalogue(None, "0" * 64)
    code, _, err = run("prune", head, "--repository", repository.root, "--catalog", used, "--yes")
    assert code == 1
    assert f"{head} is in use: a part of {ensemble.path.name}" in err
    assert names(repository) == before
    run("prune", head, ensemble.path.name, "--repository", repository.root, "--catalog", used, "--yes")
    assert set(before) - set(names(repository)) == {head, ensemble.path.name}


def test_an_ensemble_goes_before_its_components(run: Run, repository: Repository, catalogue: Fill) -> None:
    ensemble = publish_tiny_ensemble(repository)
    _, out, _ = run("prune", "--repository", repository.root, "--catalog", catalogue(None, "0" * 64), "--yes")
    assert out.splitlines()[1].startswith(ensemble.path.name)
    assert names(repository) == []


def test_an_ensemble_stands_in_for_a_lost_one(run: Run, repository: Repository, catalogue: Fill) -> None:
    ensemble = publish_tiny_ensemble(repository)
    used = catalogue("lost-12345678", tiny_contract().fingerprint)
    run("prune", "--repository", repository.root, "--catalog", used, "--yes")
    assert ensemble.path.name in names(repository)
