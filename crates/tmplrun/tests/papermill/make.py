"""Writes the tables beside it: what papermill 2.7.0 makes of values, texts and path templates.

Run it in an environment that holds papermill 2.7.0 and not black, which would reformat the Python cells:

    python -m pip install papermill==2.7.0
    python make.py
"""

import importlib.util
import io
import json
import pathlib
from datetime import datetime, timezone

import nbformat
import yaml
from papermill import version
from papermill.cli import _resolve_type
from papermill.exceptions import PapermillMissingParameterException
from papermill.iorw import NoDatesSafeLoader
from papermill.parameterize import parameterize_path
from papermill.translators import translate_parameters

assert version.version == "2.7.0", version.version
assert importlib.util.find_spec("black") is None, "black changes the cells"

HERE = pathlib.Path(__file__).parent

TEXTS = {
    "empty": "",
    "plain": "plain",
    "spaced": " two words ",
    "double": 'say "hello"',
    "single": "it's",
    "both": "'\"",
    "backslash": "C:\\new\\table",
    "trailing": "ends with \\",
    "newline": "one\ntwo\r\n\tthree",
    "dollar": "$HOME ${HOME} $(id) `id` $5",
    "percent": "100% %d {x} {{y}}",
    "control": "\x00\x01\x1b[1m\x7f",
    "latin": "caf\xe9 \xa0 \xff",
    "japanese": "\u65e5\u672c\u8a9e",
    "emoji": "\U0001f600 \U0001f468\u200d\U0001f469",
    "separators": "\u2028\u2029\ufeff",
    "symbols": "!#&*;<>?[]^|~@%+=:,./-_",
    "comment": "# // % (* *) <!--",
    "code": "'; rm -rf / #",
    "number": "007",
    "true": "True",
}
NUMBERS = {
    "zero": 0,
    "one": 1,
    "minus": -1,
    "max32": 2147483647,
    "min32": -2147483648,
    "over32": 2147483648,
    "under32": -2147483649,
    "max64": 9223372036854775807,
    "over64": 18446744073709551616,
    "huge": 123456789012345678901234567890,
    "half": 0.5,
    "whole": 2.0,
    "negative": -1.25,
    "third": 1 / 3,
    "large": 1e16,
    "larger": 1.7976931348623157e308,
    "small": 1e-5,
    "smallest": 5e-324,
    "minuszero": -0.0,
    "nan": float("nan"),
    "inf": float("inf"),
    "minusinf": float("-inf"),
}
OTHERS = {
    "yes": True,
    "no": False,
    "none": None,
    "empty_list": [],
    "empty_map": {},
    "numbers": [1, -2, 3.5],
    "longs": [1, 5000000000],
    "texts": ["a", 'b"c', "it's", "\xe9"],
    "mixed": [1, "two", True, 4.0],
    "with_none": [1, None],
    "not_finite": [float("nan"), float("inf"), float("-inf")],
    "nested": [[1, 2], [], [["deep"]]],
    "map": {"k": 1, "another key": "v"},
    "odd_keys": {'quo"te': 1, "it's": 2, "back\\slash": 3, "\xe9\u65e5": 4, "": 5, "$x": 6},
    "map_of_lists": {"a": [1, 2], "b": []},
    "list_of_maps": [{"a": 1}, {"b": {"c": None}}, {}],
    "deep": {"a": {"b": {"c": [1, {"d": "e"}]}}},
}
NAMES = {"_leading": 1, "__two": "x", "trailing_": 2, "CamelCase": 3, "x1": 4, "\xfcn\xef": 5, "dotted.name": 6}

CASES = [{name: value} for group in (TEXTS, NUMBERS, OTHERS, NAMES) for name, value in group.items()]
CASES.append({"first": 1, "second": "two", "third": [3], "fourth": False})

# The file's name, the kernel and the language that papermill looks up.
LANGUAGES = [
    ("python", "python3", "python"),
    ("r", "ir", "R"),
    ("scala", "scala212", "scala"),
    ("julia", "julia-1.10", "julia"),
    ("matlab", "jupyter_matlab_kernel", "matlab"),
    ("csharp", ".net-csharp", "C#"),
    ("fsharp", ".net-fsharp", "F#"),
    ("powershell", ".net-powershell", "PowerShell"),
    ("pyspark", "pysparkkernel", "python"),
    ("spark", "sparkkernel", "scala"),
    ("sparkr", "sparkrkernel", "R"),
    ("bash", "bash", "bash"),
]


def write(name, rows):
    path = HERE / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def cell(kernel, language, parameters):
    try:
        return {"parameters": parameters, "cell": translate_parameters(kernel, language, parameters)}
    except NotImplementedError:
        return {"parameters": parameters, "refused": True}


for name, kernel, language in LANGUAGES:
    rows = [cell(kernel, language, parameters) for parameters in CASES]
    write(f"cells/{name}", [{"kernel": kernel, "language": language}, *rows])

# -p

TYPED = """
True False None true false none TRUE null
0 1 -1 +1 007 -007 00 -0 +0 0_0 1_000 1__000 _1 1_ -_1 1_000_000 0x10 0o7 0b1 1L 1e0 ++1 --1 +-1
123456789012345678901234567890 -123456789012345678901234567890
1.0 1. .5 -.5 +.5 . 1.5.5 1e5 1E5 1e+5 1e-5 1e 1e+ e5 .e5 1.e5 1_0.0_1 1_.0 1._0 1e1_0 1_e5 1e400 -1e400 1e-400 1e16 1e15
123456789.123456789 0.1 0.30000000000000004 1e22 1e23 5e-324 2.2250738585072014e-308 100000000000000000000.0
nan NaN NAN -nan +nan inf Inf INF -inf +inf infinity Infinity -Infinity infinit nano 1inf
1,000 1/2 50% $5 1+2j 1d5 0x1p4 ½ ² Ⅷ ٣ ١٢٣ １２ １．５ -１ 1１ ۳.۵ १२३ 𝟙𝟚 〇 一
2020-01-01 12:30 [1] {a:1} a=b "1" '1' text -flag --option
""".split()
SPACED = ["", " ", " 12 ", "\t12\n", "\n", "1 2", " 1.5 ", "\x0b1\x0c", "\u3000\uff11\u3000", "\xa01", "\x1c1", "\x851", "\u20281"]
SPACED += [" True", "True ", "None\n", " nan ", "- 1", "\u200b1", "\x001", "1\x00", "9" * 4300, "9" * 4301, "0" * 4301]

write("typed", [[text, _resolve_type(text)] for text in [*TYPED, *SPACED]])

# -y

YAML = """
a|~|null|Null|NULL|nUll|none|None
true|True|TRUE|tRue|false|yes|Yes|YES|no|No|NO|on|On|off|OFF|y|n|Y|N
0|1|-1|+1|010|0o10|09|0b101|0b2|0x1F|0xg|1_000|1_|_1|-0x10|+0b1|0_7|00|-0|190:20:30|1:30|1:60|-1:30|0:30|12345678901234567890123
1.0|1.|.5|-.5|+.5|1e5|1.0e5|1.0e+5|1.e-3|1_0.5|.inf|-.inf|+.inf|.Inf|.INF|.iNf|.nan|.NaN|-.nan|inf|nan|1:30.5|1.5.5|6.8523015e+5|685.230_15e+03
2020-01-01|2020-01-01 12:30:00|2020-01-01T12:30:00Z|12:30:00|12:30
'1'|"1"|'yes'|"\\u65e5\\x41\\n"|'it''s'|"a\\
  b"
!!str 1|!!int "1"|!!float 1|!!bool "yes"|!!null ""|!!str 2020-01-01
[1, two, 3.0, yes]|{a: 1, b: [x]}|[]|{}|[a, [b, [c]]]
text: colon|a#b|a #b|@x
| # nothing
""".strip("\n").split("\n")
documents = [f"v: {text}\n" for line in YAML for text in line.split("|")]
documents += [
    "v: |\n  one\n  two\n",
    "v: >-\n  one\n  two\n",
    "v:\n- 1\n- 2\n",
    "v:\n",
    "a: &x {k: 1}\nb: *x\nc: {<<: *x, l: 2}\nd: {k: 3, <<: *x}\n",
    "a: &x {k: 1}\ne: &y {k: 9, m: 5}\nf: {<<: [*x, *y], n: 0}\n",
    "a: 1\na: 2\n",
    "a: 1\nb: 2\na: 3\n",
    "v: {3: a, 2.5: b, yes: c, ~: d, text: e, 010: f}\n",
    '{"a": 1, "b": [true, null, 1.5e3, "x"]}\n',
    "---\na: 1\n...\n",
    "%YAML 1.1\n---\na: yes\n",
    "# only a comment\n",
    "",
    "{}",
    "~",
    "[1, 2]",
    "text",
    "a: [",
    "a: 1\n b: 2",
    "a: 1\n---\nb: 2\n",
    "a: *nowhere\n",
    "a: !custom 1\n",
    "a: !!python/object:os.system x\n",
    "\ta: 1\n",
    "? [1, 2]\n: a\n",
    "a: b: c\n",
    "a: {b: 1\n",
    "a: 'unclosed\n",
    "- a: 1\n",
]


class Keys(json.JSONEncoder):
    """Keys as the translators write them, which is `str`."""

    @staticmethod
    def texts(value):
        if isinstance(value, dict):
            return {str(key): Keys.texts(item) for key, item in value.items()}
        if isinstance(value, list):
            return [Keys.texts(item) for item in value]
        return value


def loaded(text):
    try:
        parameters = {}
        parameters.update(yaml.load(io.StringIO(text), Loader=NoDatesSafeLoader) or {})
        return [text, Keys.texts(parameters)]
    except (yaml.YAMLError, ValueError, TypeError):
        return [text]


write("yaml", [loaded(text) for text in documents])

# Paths

PARAMETERS = {
    "name": "report",
    "long": "日本語のとても長い名前",
    "n": 42,
    "minus": -7,
    "big": 12345678901234567890123,
    "x": 3.14159,
    "tiny": 1.5e-9,
    "large": 123456789.0,
    "whole": 2.0,
    "nan": float("nan"),
    "inf": float("-inf"),
    "flag": True,
    "nothing": None,
    "items": ["a", 2, None, 'q"\'', "\n\xe9"],
    "map": {"key": "value", "inner": {"deep": 5}},
    "width": 8,
    "date": "2020-01-01",
}
MOMENT = {
    "run_uuid": "9cbc8a5d-5e5c-4d2c-8a2a-0f4c9ae0b6f1",
    "current_datetime_local": datetime(2026, 3, 4, 15, 6, 7, 89),
    "current_datetime_utc": datetime(2026, 3, 4, 6, 6, 7, 89, tzinfo=timezone.utc),
}
TEMPLATES = r"""
out.ipynb|{name}.ipynb|{name}/{n}/{x}.ipynb|{{name}}|{{{name}}}|a}}b|a{{b|{n}{n}
{name:>10}|{name:<10}|{name:^10}|{name:*^11}|{name:.3}|{name:10.3}|{name:s}|{name:010}|{long:.3}|{long:>12}|{long:.<12}
{n:d}|{n:5}|{n:<5}|{n:^6}|{n:05}|{n:05d}|{n:+}|{n: }|{n:+05d}|{n:x}|{n:X}|{n:#x}|{n:#06x}|{n:b}|{n:#b}|{n:o}|{n:#o}|{n:c}|{n:n}
{minus:05d}|{minus:+d}|{minus:=5}|{minus:*=6}|{minus:<5}|{minus:x}|{big}|{big:,}|{big:_}|{big:x}|{big:30}|{n:,}|{n:012,}|{n:_b}|{n:_x}
{n:f}|{n:.1f}|{n:e}|{n:.2e}|{n:g}|{n:%}|{n:.0%}
{x}|{x:f}|{x:.2f}|{x:08.2f}|{x:+.1f}|{x:e}|{x:.2e}|{x:E}|{x:g}|{x:.3g}|{x:%}|{x:.1%}|{x:10}|{x:<10}|{x:.3}|{x:.0f}|{x:n}|{x: .2f}
{tiny}|{tiny:f}|{tiny:g}|{tiny:.12f}|{tiny:.3}|{large}|{large:,}|{large:,.2f}|{large:_}|{large:g}|{large:.10g}|{large:e}|{large:.3}|{large:015,.1f}
{whole}|{whole:g}|{whole:f}|{whole:.0f}|{whole:#.0f}|{whole:.1}|{whole:#g}|{whole:.3}|{nan}|{nan:f}|{nan:5}|{nan:F}|{inf}|{inf:08}|{inf:F}|{inf:+.2f}
{flag}|{flag:d}|{flag:5}|{flag!s:>6}|{nothing}|{nothing!s:>6}|{items}|{items[0]}|{items[1]:03d}|{items[3]}|{items[4]!r}|{map}|{map[key]}|{map[inner][deep]:>3}
{name!r}|{name!s}|{name!a}|{long!a}|{long!r}|{name!r:>12}|{name:>{width}}|{x:{width}.2f}|{name[0]}|{date}|{date:.4}
{pm[run_uuid]}|{pm[current_datetime_utc]}|{pm[current_datetime_local]}|{pm[current_datetime_utc]:%Y%m%d}|{pm[current_datetime_local]:%Y-%m-%dT%H%M%S}
{pm[current_datetime_utc]:%Y%m%dT%H%M%S.%f%z}|{pm[current_datetime_utc]:%b %d %j %y %I%p %A %%}|{pm[current_datetime_utc].year}|{pm[current_datetime_local].hour}
{pm[current_datetime_local]:%z}|{pm[current_datetime_utc]!s:.10}|{pm[run_uuid]:.8}
{missing}|{}|{0}|{name|name}|{|}|{name!x}|{name!}|{name:d}|{n:s}|{n:.2d}|{x:d}|{x:x}|{items:5}|{nothing:5}|{items[9]}|{items[x]}|{map[nope]}
{n:,x}|{n:zz}|{name:=5}|{name:+}|{name:,}|{pm[nope]}|{pm[run_uuid].x}|{name[}|{name:{missing}}|{flag:s}|{n:05s}|{x:,_}
""".strip("\n").split("\n")


def path(template):
    try:
        return [template, parameterize_path(template, {"pm": MOMENT, **PARAMETERS})]
    except (PapermillMissingParameterException, ValueError, IndexError, AttributeError, TypeError, KeyError):
        return [template]


rows = [path(template) for line in TEMPLATES for template in line.split("|")]
write("paths", [PARAMETERS, *rows])

# --help-notebook

from papermill.translators import PythonTranslator  # noqa: E402

CELLS = [
    "a = 1",
    "a = 1  # how many",
    "a: int = 1",
    "a: 'str' = 'x'  # its name",
    "a: List[str] = []",
    "a: Dict[str, int] = {}  # a map",
    "a = None  # type: int",
    "a = None  # type: Optional[int] the number",
    "a=1\nb  =  2",
    "# a comment\na = 1\n\n# another\nb = 'two' # help",
    "a = [\n    1,\n    2,\n]  # both",
    "a = {\n    'k': 1,  # one\n    'l': 2,  # two\n}",
    "a = 'a # b'",
    "import os\na = os.sep",
    "",
]


def inspected(source):
    found = PythonTranslator.inspect(nbformat.v4.new_code_cell(source=source))
    return [source, [[p.name, p.inferred_type_name, p.default, p.help] for p in found]]


write("declared", [inspected(source) for source in CELLS])
