"""The stub says what the module has, and nothing else."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import clusterbook as cb
import pytest
from clusterbook import _core

STUB = ast.parse((Path(cb.__file__).parent / "__init__.pyi").read_text(encoding="utf-8"))
SPECIAL = {"__init__", "__len__", "__iter__", "__getitem__", "__contains__", "__bool__"}
PUBLIC = {name: getattr(cb, name) for name in cb.__all__}


def defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            found.update({alias.asname: node for alias in node.names if alias.asname})
    return found


CLASSES = {name: node for name, node in defined(STUB.body).items() if isinstance(node, ast.ClassDef)}


def written(function: ast.FunctionDef) -> list[tuple[str, str, bool]]:
    arguments = function.args
    positional = [(argument.arg, "positional") for argument in arguments.posonlyargs + arguments.args]
    defaults = [False] * (len(positional) - len(arguments.defaults)) + [True] * len(arguments.defaults)
    result = [(name, kind, default) for (name, kind), default in zip(positional, defaults, strict=True)]
    if arguments.vararg:
        result.append((arguments.vararg.arg, "several", False))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        result.append((argument.arg, "keyword", default is not None))
    if arguments.kwarg:
        result.append((arguments.kwarg.arg, "keywords", False))
    return result


def real(function: Any) -> list[tuple[str, str, bool]]:
    kinds = {
        inspect.Parameter.POSITIONAL_ONLY: "positional",
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
        inspect.Parameter.VAR_POSITIONAL: "several",
        inspect.Parameter.KEYWORD_ONLY: "keyword",
        inspect.Parameter.VAR_KEYWORD: "keywords",
    }
    return [
        (parameter.name, kinds[parameter.kind], parameter.default is not parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    ]


def members(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(cls).items()
        if (name in SPECIAL or not name.startswith("_"))
        and (
            inspect.isroutine(member)
            or isinstance(member, property | classmethod | staticmethod)
            or inspect.isdatadescriptor(member)
        )
    }


def test_the_same_names() -> None:
    names = {name for name in defined(STUB.body) if not name.startswith("_") and name != "Command"}
    assert names | {"__version__"} == set(cb.__all__)
    extra = {
        name
        for name, value in vars(cb).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    } - set(cb.__all__)
    assert extra == set()


def test_the_compiled_part() -> None:
    stub = defined(ast.parse((Path(cb.__file__).parent / "_core.pyi").read_text(encoding="utf-8")).body)
    for name, node in stub.items():
        if isinstance(node, ast.FunctionDef):
            assert [part[0] for part in written(node)] == [part[0] for part in real(getattr(_core, name))], (
                name
            )
    names = {name for name in vars(_core) if not name.startswith("__")}
    assert set(stub) - {"__version__"} == names


@pytest.mark.parametrize("name", sorted(name for name, value in PUBLIC.items() if inspect.isfunction(value)))
def test_functions_have_the_same_parameters(name: str) -> None:
    node = defined(STUB.body)[name]
    assert isinstance(node, ast.FunctionDef)
    assert written(node) == real(PUBLIC[name])


@pytest.mark.parametrize("name", sorted(name for name, value in PUBLIC.items() if inspect.isclass(value)))
def test_classes_have_the_same_members(name: str) -> None:
    cls, node = PUBLIC[name], CLASSES[name]
    bases = {base.__name__ for base in cls.__bases__} - {"object"}
    assert {ast.unparse(base).split("[")[0] for base in node.bases} == bases
    stub = defined(node.body)
    stub_methods = {
        key: value for key, value in stub.items() if isinstance(value, ast.FunctionDef) and key != "__eq__"
    }
    module = {key: member for key, member in members(cls).items() if key != "__init__" or name != "Secret"}
    assert set(stub_methods) - ({"__init__"} if name == "Secret" else set()) == set(module)
    for key, member in module.items():
        function = stub_methods[key]
        decorated = {ast.unparse(decorator) for decorator in function.decorator_list}
        if "overload" in decorated:
            continue
        if inspect.isdatadescriptor(member):
            assert "property" in decorated, key
        elif isinstance(member, classmethod):
            assert "classmethod" in decorated, key
            assert written(function)[1:] == real(getattr(cls, key)), key
        else:
            assert written(function) == real(member), key
    if name == "Secret":
        assert written(stub_methods["__init__"])[1:] == real(cls)


@pytest.mark.parametrize("name", sorted(name for name, value in PUBLIC.items() if inspect.isclass(value)))
def test_everything_says_what_it_is_for(name: str) -> None:
    assert PUBLIC[name].__doc__
    assert PUBLIC[name].__module__ == "clusterbook"
