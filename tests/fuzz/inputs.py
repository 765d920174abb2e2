"""Draws bad inputs for the command line from a seed: parameters, params files, arguments."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lib.algos import registry
from lib.core import config
from lib.core.paths import PARAMS
from lib.experiments.run_config import PARAMETERS
from lib.experiments.transfer import PARAMETERS as OF_TRANSFER

PRESETS = ("grid-quick", "cheetah-quick", "minigrid3-quick", "debug", "grid-transfer-quick")
NUMBERS = (
    "0", "-1", "1", "2", "3", "7", "-0", "1.5", "1e3", "1e-4", "1e30", "1e400", "-1e400", ".inf",
    "-.inf", ".nan", "nan", "inf", "017", "0o17", "0x1F", "0x_", "0b_", "0b2", "1_000", "1:30",
    "190:20:30.15", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e18",
    "99999999999", "1000000000000000000000000000000", "5j", "1/2", "+", "-", "1,5", "١٢", "²", "½",
)  # fmt: skip
TYPED = (
    "!!int foo", "!!int 017", "!!float x", "!!bool x", "!!null x", "!!str 1", "!!timestamp foo",
    "!!binary x", "!!set {a}", "!!omap [a]", "!!python/name:os.system",
    "!!python/object/apply:os.system [true]", "!x y", "%YAML 3", "2020-13-45", "2020-01-01",
    "2001-1-1 99:99:99", "yes", "off", "~", "null", "true", "=", "<<", "{<<: 3}", "*a", "&a [*a]",
    "&a {b: *a}", "? [a]", "{[a]: 1}", "{a: 1, a: 2}", "[", "]", "{", "}", "[1", "{a", "[]", "{}",
    "[[]]", "[{}]", "{a: {}}", "[null]", "- -", "--- 1\n--- 2", "'", '"', "'a", '"\\ud800"',
    '"\\x"', '"\\0"', ">", "a: b", "a: b: c", "#", "`", "@", "a,b", ",", "a, ,b", ":", "...",
)  # fmt: skip
NAMES = (
    "", " ", ".", "..", "../x", "../../../../x", "/abs/olute", "a/b", "a\\b", ".hidden", "~",
    "~root", "-", "--", "-x", "con", "a\x00b", "a\nb", "a\rb", "a\x1b[2Jb", "a\x7fb", "\x85",
    "a\u2028b", "\u202exe.txt", "\udc80", "\ufeff", "\ufffe", "é", "é", "名前", "😀", "x" * 120,
    "x" * 121, "ä" * 61, "x" * 256, "x" * 5000, "$HOME", "$(id)", "`id`", "{seed}", "{{}}", "{0}",
    "%s%n", "<img src=x onerror=alert(1)>", "</script>", "$\\frac$", "'", '"', 'a\'b"c',
    "' + str(1) + '", "*", "?", "[x]", "room-1", "None", "/dev/zero", "/dev/null", "/dev/stdin",
    "/proc/self/mem", "/etc/passwd", "/", "//", "nul", "a:b",
)  # fmt: skip
CHARACTERS = "\0\t\n\r\x1b\x7f\x85\xa0ä名😀\u2028\u202e\udc80:,[]{}&*!|>'\"%@`#?-=~<$\\/.0 1eE_"
FITTING = {
    int: (0, 1, 2, 3, -1, 7, 1000, 10**6, 10**9, 10**12, 2**63 - 1),
    float: ("0.0", "1.0", "-1.0", "0.5", "1.0e-300", "1.0e+300", "5.0e-324", 0, 10**18),
    bool: ("true", "false"),
    str: ("auto", "never", "none", "state", "custom", "gymnasium", "grid", "walker", "pixels", ""),
}
RESERVED = ("room-1", "run", "jump2run", "CartPole-v1", "doorkey-5x5", "os:CartPole-v1")


@cache
def settings(preset: str) -> list[str]:
    """Every setting of a preset's family by its dotted name."""
    return config.dotted_keys(registry.of_preset(preset).config())


@cache
def params_files() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PARAMS.rglob("*.yaml"))]


def value(draw: random.Random) -> str:
    """Something that is nearly always wrong, as it is typed after `KEY=`."""
    kind = draw.randrange(8)
    if kind < 2:
        return draw.choice(NUMBERS)
    if kind < 4:
        return draw.choice(TYPED)
    if kind == 4:
        return draw.choice(NAMES)
    if kind == 5:
        return "".join(draw.choices(CHARACTERS, k=draw.randint(1, 12)))
    if kind == 6:
        sign = draw.choice(["9", "[", "{a: ", "- ", "[1,", "a", "'", "{", "0x", "é", "!", "&a "])
        return sign * draw.choice([10, 300, 3000, 5000])
    inside = ", ".join(value(draw)[:200] for _ in range(draw.randint(0, 3)))
    return draw.choice(["[%s]", "{a: %s}", "{%s}", "[[%s]]", "{name: %s}"]) % inside


def entry(draw: random.Random) -> object:
    """A task of a list, as plain data."""
    name = draw.choice([*NAMES, 3, None, ["x"], {"a": 1}, True, 1.5])
    cell = [
        [1, 1],
        [2, 3],
        [0, 0],
        [-1, 1],
        [1],
        [1, 1, 1],
        ["a", "b"],
        "ab",
        None,
        10**30,
        [1.0, 1.0],
    ]
    kind = draw.randrange(5)
    if kind == 0:
        return draw.choice([*NAMES, *RESERVED])
    if kind == 1:
        return {"name": name, "start": draw.choice(cell), "goal": draw.choice(cell)}
    if kind == 2:
        options = draw.choice([{}, {"a": name}, [], "x", {"render_mode": "human"}, None])
        return {"id": draw.choice([*RESERVED, *NAMES]), "name": name, "options": options}
    if kind == 3:
        return {"name": name} | ({str(draw.choice(NAMES)): 1} if draw.random() < 0.5 else {})
    return draw.choice([name, [], [[]], {}, 0, None])


def parameter(draw: random.Random, keys: list[str]) -> list[str]:
    """`-p KEY=VALUE`."""
    if draw.random() < 0.2:
        tasks = [entry(draw) for _ in range(draw.randint(1, 3))]
        return ["-p", f"tasks={json.dumps(tasks)}"]
    key = draw.choice(keys)
    if draw.random() < 0.05:
        key = draw.choice([*NAMES, key + ".x", key.upper(), "env", "env.", ".size", ""])
    if key == "out_dir":  # a path is honoured, wherever it leads
        return [
            "-p",
            f"out_dir={draw.choice(['', 'x', 'a' * 256, 'x' + chr(0), 'y/z', 'a' * 5000])}",
        ]
    return ["-p", f"{key}={value(draw)}"]


def settings_of_a_run(draw: random.Random) -> list[str]:
    """`run` of a valid preset with wrong values of any parameter or setting."""
    preset = draw.choice(PRESETS)
    keys = [*settings(preset), *PARAMETERS]
    given = [part for _ in range(draw.choice([1, 1, 1, 2, 4])) for part in parameter(draw, keys)]
    return ["run", preset, "-p", "device=cpu", *given]


def sizes_of_a_run(draw: random.Random) -> list[str]:
    """`run` with values of the right types that hardly fit: some of them are taken."""
    preset = draw.choice(PRESETS)
    found = config.to_dict(registry.of_preset(preset).config())
    given = ["run", preset, "-p", "device=cpu"]
    for _ in range(draw.choice([1, 1, 2, 3])):
        key = draw.choice([name for name in settings(preset) if "." in name])
        default = found
        for part in key.split("."):
            default = default[part]
        one = default[0] if isinstance(default, list) and default else default
        said = draw.choice(FITTING.get(type(one), ("",)))
        given += ["-p", f"{key}={f'[{said}, {said}]' if isinstance(default, list) else said}"]
    return given


def sections_of_a_run(draw: random.Random) -> list[str]:
    """`run` with all overrides as one mapping, some of them nested."""
    preset = draw.choice(PRESETS)
    found: dict = {}
    for _ in range(draw.randint(1, 4)):
        key = draw.choice([*settings(preset), *PARAMETERS, *NAMES])
        said = draw.choice([0, -1, 1e30, "x", None, [], {}, [{}], True, {"a": 1}, 10**30, key])
        if draw.random() < 0.5:
            first, _, last = key.partition(".")
            found[first] = {last: said}
        else:
            found[key] = said
    return ["run", preset, "-p", f"overrides={json.dumps(found)}"]


def file_of_a_run(draw: random.Random) -> tuple[list[str], bytes]:
    """`run` of a params file that was valid until it was altered."""
    text = draw.choice(params_files())
    for _ in range(draw.choice([1, 1, 2, 5])):
        text = _altered(draw, text)
    return ["run", "altered.yaml"], text


def _altered(draw: random.Random, text: bytes) -> bytes:
    lines = text.splitlines(keepends=True) or [b"\n"]
    index = draw.randrange(len(lines))
    said = value(draw).encode("utf-8", "surrogatepass")
    kind = draw.randrange(9)
    if kind == 0:
        lines.insert(index, draw.choice(lines))
    elif kind == 1:
        del lines[index]
    elif kind == 2:
        lines[index] = lines[index].split(b":")[0] + b": " + said + b"\n"
    elif kind == 3:
        key = draw.choice([*PARAMETERS, *NAMES]).encode("utf-8", "surrogatepass")
        key = b"name" if key == b"out_dir" else key
        lines.append(key + b": " + said + b"\n")
    elif kind == 4:
        lines[index] = draw.choice([b" ", b"\t", b"- ", b"  - ", b"? "]) + lines[index]
    elif kind == 5:
        text = b"".join(lines)
        at = draw.randrange(len(text) + 1)
        return text[:at] + bytes(draw.choices(range(256), k=draw.randint(1, 4))) + text[at:]
    elif kind == 6:
        return b"".join(lines)[: draw.randrange(len(text) + 1)]
    elif kind == 7:
        codec = draw.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"])
        return text.decode("utf-8", "replace").encode(codec, "replace")
    else:
        lines[index] = said + b"\n"
    return b"".join(lines)


def arguments(draw: random.Random) -> list[str]:
    """A command with arguments that do not fit it."""
    place = draw.choice(["finished-s0", "begun-s0", "several", "notes", "outputs", "file", *NAMES])
    own = [place, draw.choice(["finished-s0", "nothing", "x/y", *NAMES])]
    preset = draw.choice([*PRESETS, *NAMES, "grid-transfer", "cheetah-transfer-quick"])
    settings_of = [*settings("grid-quick"), *OF_TRANSFER]
    places = ["x", "file", "notes", "a" * 256, ""]
    flags = {
        "run": (
            lambda: ["--out", draw.choice([*places, "a/b", "finished-s0"])],
            lambda: ["--fresh"],
            lambda: ["--notebook", draw.choice([*NAMES, "file", "notes"])],
            lambda: ["--import", draw.choice([*NAMES, "no.such", "lib", "json", ".x", "a b"])],
            lambda: ["-p", value(draw)],
        ),
        "resume": (
            lambda: ["--notebook", draw.choice([*NAMES, "file", "notes"])],
            lambda: ["--import", draw.choice(["no.such", "..", "", "1", "a-b"])],
        ),
        "compare": (lambda: ["--out", draw.choice([*places, "file/x"])],),
        "transfer": (
            lambda: ["--preset", preset],
            lambda: ["--tasks", draw.choice([",".join(NAMES[:9]), "room-1", *NAMES, *TYPED])],
            lambda: ["--seeds", draw.choice([*NUMBERS, "0,0", "0,-1", ",", *TYPED])],
            lambda: ["--pre-rollout", draw.choice(own)],
            lambda: parameter(draw, settings_of),
            lambda: ["--out", draw.choice(places)],
        ),
        "clean": (),
        "list": (),
    }  # fmt: skip
    command = draw.choice([*flags, *flags, draw.choice(NAMES), "--help", ""])
    many: dict[str, Callable[[], list[str]]] = {
        "run": lambda: [preset],
        "resume": lambda: own[:1],
        "compare": lambda: own[: draw.randint(0, 2)],
        "transfer": lambda: own[: draw.randint(0, 2)],
        "clean": lambda: own[: draw.randint(1, 2)],
        "list": lambda: [],
    }
    given = many.get(command, lambda: own)()
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        if wanted := flags.get(command):
            given += draw.choice(wanted)()
    if draw.random() < 0.15:
        given += draw.choice([["--no-such"], ["-p"], ["--yes"], ["--out"], ["-h"], ["--", *own]])
    if command != "clean":  # which is never told that it may
        draw.shuffle(given) if draw.random() < 0.1 else None
    given = [part for part in given if command != "clean" or part != "--yes"]
    return [command, *given]


KINDS = (settings_of_a_run, sizes_of_a_run, sections_of_a_run, file_of_a_run, arguments)


def draw_input(seed: int) -> tuple[list[str], bytes]:
    """Arguments for the command line, and what a params file among them holds."""
    draw = random.Random(seed)
    made = KINDS[seed % len(KINDS)](draw)
    given, text = made if isinstance(made, tuple) else (made, b"")
    return given, text


def written(folder: Path, text: bytes) -> None:
    """Puts the params file where the arguments say."""
    (folder / "altered.yaml").write_bytes(text)
