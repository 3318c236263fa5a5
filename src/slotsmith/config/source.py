"""Reads a YAML file into plain values, and remembers on which line each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from slotsmith.config.environment import fill_in
from slotsmith.config.errors import ConfigError, Path, Problem
from slotsmith.text import one_line, quoted

_LARGEST_FILE = 4 * 1024 * 1024
# An alias costs a few bytes and can stand for all that was written before it.
_MOST_VALUES = 200_000
_TAG = "tag:yaml.org,2002:"
# Nothing in a configuration is a date; one that looks like a date is the text it was written as.
_TEXT_TAGS = ("str", "timestamp", "value", "merge")


@dataclass
class Document:
    """A file's `data` as mappings, lists and scalars, the line of each key and item, and what was wrong on the way."""

    file: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest one around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def problem(self, path: Path, key: str, text: str) -> Problem:
        """A problem that stands at `path`; `key` is the path as people read it."""
        return Problem(self.file, self.line(path), key, text)


def read_file(path: FilePath) -> str:
    """The text of the file.

    Raises:
        ConfigError: it is not there, cannot be read, is too large, or is not UTF-8.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise _failure(file, None, "no such file") from None
    except IsADirectoryError:
        raise _failure(file, None, "is a directory, expected a file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise _failure(file, None, f"cannot be read: {reason or error}") from None
    if len(content) > _LARGEST_FILE:
        raise _failure(file, None, f"is larger than {_LARGEST_FILE // 1024**2} MiB, expected a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _failure(file, line, f"is not UTF-8 text (byte {error.start})") from None


def parse(text: str, file: str, environ: Mapping[str, str] | None = None) -> Document:
    """The document in `text`; `file` is how problems name it. Duplicate keys and the like are its `problems`.

    With `environ`, `${VAR}` in a value stands for a variable; if it is all of the value, so does the variable's type.

    Raises:
        ConfigError: `text` is not one YAML document, or nests too deep.
    """
    yaml = YAML(typ="safe", pure=True)
    # An anchor that is given anew is legal, and the warning would be a page of text.
    yaml.composer.warn_double_anchors = False
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _failure(file, mark.line + 1 if mark else None, f"malformed YAML: {_yaml_text(error)}") from None
    except ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise _failure(file, line, f"malformed YAML: character {_code(error)} is not allowed") from None
    except (YAMLError, ValueError) as error:
        raise _failure(file, None, f"malformed YAML: {error}") from None
    except RecursionError:
        raise _failure(file, None, "malformed YAML: it nests too deep") from None
    if node is None:
        raise _failure(file, None, "is empty, expected a configuration")
    document = Document(file)
    document.data = _Reader(yaml, document, environ).read(node)
    return document


def _failure(file: str, line: int | None, text: str) -> ConfigError:
    return ConfigError([Problem(file, line, "", text)])


def _code(error: ReaderError) -> str:
    return f"U+{error.character if isinstance(error.character, int) else ord(error.character):04X}"


def _yaml_text(error: MarkedYAMLError) -> str:
    return ", ".join(one_line(str(part)) for part in (error.problem, error.context) if part)


class _Reader:
    """Turns nodes into values, each place of the document once."""

    def __init__(self, yaml: YAML, document: Document, environ: Mapping[str, str] | None) -> None:
        self._constructor = yaml.constructor
        self._resolver = yaml.resolver
        self._document = document
        self._environ = environ
        self._open: set[int] = set()
        self._count = 0

    def read(self, node: Node) -> Any:
        self._document.lines[()] = _line(node)
        try:
            return self._value(node, ())
        except RecursionError:
            raise _failure(self._document.file, None, "malformed YAML: it nests too deep") from None

    def _value(self, node: Node, path: Path) -> Any:
        self._count_one(node)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise self._circle(node)
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            assert isinstance(node, SequenceNode)
            return self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _sequence(self, node: SequenceNode, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._document.lines[*path, index] = _line(item)
            items.append(self._value(item, (*path, index)))
        return items

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in self._pairs(node):
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if key is None or self._tag(key_node) not in _TEXT_TAGS:
                got = quoted(key) if key is not None else "a list or mapping"
                self._problem(key_node, f"expected a key that is text, got {got}")
            elif key in first:
                self._problem(key_node, f"duplicate key {quoted(key)}, already on line {first[key]}")
            else:
                first[key] = _line(key_node)
                self._document.lines[*path, key] = _line(key_node)
                values[key] = self._value(value_node, (*path, key))
        return values

    def _pairs(self, node: MappingNode) -> list[tuple[Node, Node]]:
        """Keys with their values: those of the mapping itself, then what `<<: *defaults` adds to them."""
        pairs = [(key, value) for key, value in node.value if self._tag(key) != "merge"]
        names = {key.value for key, _ in pairs if isinstance(key, ScalarNode)}
        for source in self._merged(node):
            for key, value in self._pairs(source):
                self._count_one(key)
                if isinstance(key, ScalarNode) and key.value not in names:
                    names.add(key.value)
                    pairs.append((key, value))
        return pairs

    def _merged(self, node: MappingNode) -> Iterator[MappingNode]:
        for key, value in node.value:
            if self._tag(key) != "merge":
                continue
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(source, MappingNode):
                    self._problem(key, "expected a mapping, or a list of mappings, after '<<'")
                elif id(source) in self._open:
                    raise self._circle(key)
                else:
                    yield source

    def _filled_in(self, node: ScalarNode) -> ScalarNode:
        if self._environ is None or "${" not in node.value:
            return node
        try:
            value = fill_in(node.value, self._environ)
        except ValueError as error:
            self._problem(node, str(error))
            value = ""
        tag = node.tag
        if node.style is None and node.value.startswith("${") and node.value.endswith("}"):
            tag = self._resolver.resolve(ScalarNode, value, (True, False))
        return ScalarNode(tag, value, node.start_mark, node.end_mark, style=node.style)

    def _scalar(self, node: ScalarNode) -> Any:
        node = self._filled_in(node)
        tag = self._tag(node)
        if tag in _TEXT_TAGS:
            return node.value
        if tag in ("null", "bool", "int", "float"):
            try:
                return getattr(self._constructor, f"construct_yaml_{tag}")(node)
            except (ValueError, LookupError, OverflowError):
                self._problem(node, f"cannot read {quoted(node.value)} as a value of type {tag}")
                return None
        self._problem(node, f"the tag {quoted(str(node.tag).replace(_TAG, '!!'))} is not supported")
        return None

    def _count_one(self, node: Node) -> None:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise _failure(self._document.file, _line(node), f"has more than {_MOST_VALUES} values")

    def _circle(self, node: Node) -> ConfigError:
        return _failure(self._document.file, _line(node), "an alias stands inside of what it names")

    def _problem(self, node: Node, text: str) -> None:
        self._document.problems.append(Problem(self._document.file, _line(node), "", text))

    @staticmethod
    def _tag(node: Node) -> str:
        return str(node.tag).removeprefix(_TAG)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
