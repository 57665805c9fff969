"""A card as text for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_RANDOM = "**Its weights are random: good for measuring speed, useless for likeness.**"


def render(content: Mapping[str, Any]) -> str:
    """Return the text of a card, from the content of its `card.json`."""
    lines = [f"# {content['model']}", ""]
    if content.get("random_weights"):
        lines += [_RANDOM, ""]
    for title, section in (
        ("Source", _source(content)),
        ("Components", _components(content.get("components", {}))),
        ("Outputs", _outputs(content.get("outputs", {}))),
        ("Categories", _categories(content.get("categories", []))),
        ("Spaces", _spaces(content.get("spaces", []))),
        ("Pair", _pairs(content.get("pair", {}))),
        ("Interaction", _pairs(content.get("interaction", {}))),
        ("Pictures", _pairs(content.get("pipeline", {}))),
        ("Parity", _parity(content.get("parity"))),
        ("Triton", _triton(content["model"], content.get("triton"))),
        ("Reduction", _pairs(content.get("reduction", {}))),
        ("Gate", _pairs(content.get("gate", {}))),
        ("Speed", _speed(content.get("speed"))),
        ("Versions", _pairs(content["versions"])),
        ("Files", _files(content["files"])),
    ):
        if rows := list(section):
            lines += [f"## {title}", "", *rows, ""]
    return "\n".join(lines)


def _source(content: Mapping[str, Any]) -> Iterator[str]:
    source = content.get("source", {})
    if source:
        yield f"- backbone: {source['backbone']}"
        for part in ("weights", "head"):
            if part in source:
                yield f"- {part}: {', '.join(_words(key, value) for key, value in source[part].items())}"
    for key in ("precision", "target", "fingerprint", "artifact", "made"):
        if key in content:
            yield f"- {key}: {content[key]}"


def _words(key: str, value: Any) -> str:
    return str(value) if key in ("kind", "file") else f"{key} {value}"


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"- {key}: {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _components(components: Mapping[str, Any]) -> Iterator[str]:
    for name, component in components.items():
        yield f"- {name}: {component['kind']}, artifact {component['artifact']}"


def _outputs(outputs: Mapping[str, Any]) -> Iterator[str]:
    for name, output in outputs.items():
        classes = f", classes {', '.join(output['classes'])}" if output["classes"] else ""
        category = ", by the category too" if output.get("takes_category") else ""
        yield f"- {name}: {output['dimension']:,} dimensions{classes}{category}, fingerprint {output['fingerprint']}"


def _categories(names: list[str]) -> Iterator[str]:
    for index, name in enumerate(names, start=1):
        yield f"- {index}: {name}"


def _spaces(spaces: list[Mapping[str, Any]]) -> Iterator[str]:
    for space in spaces:
        yield f"- {space['name']}: output {space['output']}, {space['dimension']:,} dimensions, {space['metric']}"


def _parity(parity: Mapping[str, Any] | None) -> Iterator[str]:
    if parity is None:
        return
    yield f"Between {' and '.join(parity['between'])}; pictures: {parity['pictures']}."
    yield from _batches(parity["batches"])


def _triton(model: str, triton: Mapping[str, Any] | None) -> Iterator[str]:
    if triton is None:
        return
    if not triton["proved"]:
        yield f"Not proved through Triton: {triton['reason']}. `twinset-exporter prove {model} --record` adds it."
        return
    yield f"Between {triton['against']} and Triton {triton['version']}; pictures: {triton['pictures']}."
    yield from _batches(triton["batches"])


def _batches(batches: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield ""
    yield "| batch | pictures | output | largest difference | of the scale | smallest cosine |"
    yield "|---|---|---|---|---|---|"
    for batch, measured in batches.items():
        for name, output in measured["outputs"].items():
            yield (
                f"| {batch} | {measured['pictures']} | {name} | {output['largest_difference']:.2g} "
                f"| {output['share']:.2g} | {output['smallest_cosine']:.7f} |"
            )


def _speed(speed: Mapping[str, Any] | None) -> Iterator[str]:
    if speed is None:
        return
    machine = speed["machine"]
    yield f"ONNX Runtime alone in a process, on {machine['cores']} cores of {machine['processor']}."
    yield ""
    yield "| batch | milliseconds | pictures a second |"
    yield "|---|---|---|"
    for batch, milliseconds in speed["latency_ms"].items():
        yield f"| {batch} | {milliseconds:.1f} | {1000 * int(batch) / milliseconds:.0f} |"
    yield ""
    yield f"Peak of memory: {speed['peak_memory_mb']:,} MB."


def _files(files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| file | bytes | SHA-256 |"
    yield "|---|---|---|"
    for name, entry in files.items():
        yield f"| {name} | {entry['bytes']:,} | {entry['sha256']} |"
