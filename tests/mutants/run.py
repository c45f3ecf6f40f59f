"""Applies mutants to a copy of the tree, and says which of the published suites kills each. `scripts/mutants` calls it.

A list (`redis.mutants`, …) has a block for each mutant: its name, a file, the lines that it replaces (`- `), the lines that
replace them (`+ `), and, for one that lives, the reason (`lives: …`). The old lines are in the file exactly once. A block
whose name begins with `seam:` is no mutant: it changes the copy in every run, so that scripts and statements can be
replaced while the tests run.

One build has all mutants. In Rust, the old lines are an expression, or statements, that becomes
`if crate::mutants::on(7) { new } else { old }`. In Lua and SQL the loader replaces the text of the file; a file that is
followed by `(sql)` is Rust with statements in constants, of which the loader replaces the old lines. The tests get the
active mutant by environment variables.
"""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LISTS = Path(__file__).resolve().parent
WORK = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "mutants"
TREE = WORK / "tree"
PAGE = ROOT / "docs/mutants.md"

# How long a comparison that finds no difference goes on.
COMPARE_SECONDS = os.environ.get("SMACHE_COMPARE_SECONDS", "15")

# Compiled into each crate of the copy.
SWITCH = """//! Which mutant is active. Made by scripts/mutants, in a copy of the tree.
#![allow(warnings)]

use std::{env::var, sync::LazyLock};

static ACTIVE: LazyLock<u32> = LazyLock::new(|| var("SMACHE_MUTANT").map_or(0, |number| number.parse().unwrap()));
static TEXT: LazyLock<Option<(String, String)>> =
    LazyLock::new(|| Some((var("SMACHE_MUTANT_FROM").ok()?, var("SMACHE_MUTANT_TO").ok()?)));

pub(crate) fn on(number: u32) -> bool {
    *ACTIVE == number
}

pub(crate) fn number() -> u32 {
    *ACTIVE
}

pub(crate) fn text(text: &'static str) -> &'static str {
    match &*TEXT {
        Some((from, to)) if text.contains(from.as_str()) => text.replace(from, to).leak(),
        _ => text,
    }
}
"""


@dataclass
class Tests:
    """The published suites on a backend."""

    package: str
    target: str
    suites: list[str]
    comparison: str
    features: str = ""
    servers: bool = False


BACKENDS = {
    "memory": Tests(
        "smache-memory", "conformance", ["backend_suite::", "backend_incarnation_suite::", "eviction_suite::"], "comparison_suite::"
    ),
    "kv": Tests(
        "smache-kv",
        "it",
        [f"conformance::{name}::" for name in ("in_small_pages", "taking_turns", "alone_above_its_capacity")],
        "conformance::compared::in_pages::",
    ),
    "sqlite": Tests(
        "smache-sql",
        "it",
        ["sqlite::conformance::backend_suite::", "sqlite::conformance::backend_incarnation_suite::"],
        "sqlite::conformance::compared::",
        "sqlite,postgres,",
    ),
    "redis": Tests(
        "smache-redis",
        "it",
        [f"conformance::{name}::" for name in ("alone", "together", "restarted")],
        "conformance::compared::",
        servers=True,
    ),
    "postgres": Tests(
        "smache-sql",
        "it",
        ["postgres::conformance::backend_suite::", "postgres::conformance::restarted::"],
        "postgres::conformance::compared::",
        "sqlite,postgres,",
        servers=True,
    ),
    "mongo": Tests(
        "smache-mongo",
        "it",
        [f"backend::conformance::{name}::" for name in ("alone", "together", "renamed")],
        "backend::conformance::compared::",
        servers=True,
    ),
}

# The mutants of `smache_core::protocol`, on the two backends that run all of its functions.
PROTOCOL = {"protocol": "memory", "protocol-kv": "kv"}


class Wrong(Exception):
    """Something that a person has to mend: a list, or the tree."""


@dataclass
class Mutant:
    backend: str
    name: str
    file: str = ""
    sql: bool = False
    old: str = ""
    new: str = ""
    lives: str = ""
    number: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_seam(self):
        return self.name.startswith("seam:")

    @property
    def is_rust(self):
        return self.file.endswith(".rs") and not self.sql


# ------------------------------------------------------------------------------------------------------------- the lists


def parse(backend, text):
    mutants = []
    for block in re.split(r"\n{2,}", "\n".join(line for line in text.split("\n") if not line.startswith("#"))):
        lines = block.strip("\n").split("\n")
        if lines == [""]:
            continue
        mutant = Mutant(backend, lines[0])
        old, new, lives = [], [], None
        for line in lines[1:]:
            if lives is not None:
                lives.append(line.strip())
            elif line.startswith("lives: "):
                lives = [line.removeprefix("lives: ")]
            elif line == "-" or line.startswith("- "):
                old.append(line[2:])
            elif line == "+" or line.startswith("+ "):
                new.append(line[2:])
            elif not mutant.file:
                mutant.file, _, kind = line.partition(" ")
                mutant.sql = kind == "(sql)"
            else:
                raise Wrong(f"{backend}: {mutant.name}: the line {line!r} is neither `- ` nor `+ ` nor `lives: `")
        mutant.old, mutant.new, mutant.lives = "\n".join(old), "\n".join(new), " ".join(lives or [])
        mutants.append(mutant)
    names = [mutant.name for mutant in mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Wrong(f"{backend}: two mutants have the name {twice[0]!r}")
    return mutants


def lists():
    """Every list, by backend. A mutant of the protocol has a name and no file."""
    found = {}
    for backend in [*BACKENDS, *PROTOCOL, "seams"]:
        path = LISTS / f"{backend}.mutants"
        found[backend] = parse(backend, path.read_text()) if path.exists() else []
        for mutant in found[backend]:
            # The same however the lists change, so that the other packages need no new build.
            mutant.number = zlib.crc32(f"{backend}: {mutant.name}".encode())
            if backend not in PROTOCOL and not (ROOT / mutant.file).is_file():
                raise Wrong(f"{backend}: {mutant.name}: there is no file {mutant.file!r}")
    source = (ROOT / "smache-core/src/protocol/mutant.rs").read_text()
    body = source.split("    mutants! {", 1)[1].split("\n    }", 1)[0]
    names = re.findall(r"^        (\w+),$", body, re.M)
    for backend in PROTOCOL:
        reasons = {mutant.name: mutant.lives for mutant in found[backend]}
        for name in reasons.keys() - set(names):
            raise Wrong(f"{backend}: there is no mutant {name!r} in smache_core::protocol")
        found[backend] = [
            Mutant(backend, name, lives=reasons.get(name, ""), variables={"SMACHE_PROTOCOL_MUTANT": name}) for name in names
        ]
    return found


# -------------------------------------------------------------------------------------------------------------- the copy


def place(mutant, text):
    """Where the old lines are."""
    count = text.count(mutant.old) if mutant.old else 0
    if count != 1:
        raise Wrong(f"{mutant.backend}: {mutant.name}: {mutant.file} has the old lines {count} times, and not once")
    at = text.index(mutant.old)
    return at, at + len(mutant.old)


def switched(mutants):
    """Rust with some mutants of one place, behind the switch."""
    old = mutants[0].old
    is_statement = old.rstrip().endswith((";", "}"))
    text = ""
    for mutant in mutants:
        text += f"if crate::mutants::on({mutant.number}) {{ {mutant.new} }} else "
    text += f"{{ {old} }}"
    return text if is_statement else f"({text})"


def patched(path, text, mutants):
    """The text of a file in the copy."""
    for seam in (mutant for mutant in mutants if mutant.is_seam):
        start, end = place(seam, text)
        text = text[:start] + seam.new + text[end:]
    places = {}
    for mutant in (mutant for mutant in mutants if not mutant.is_seam):
        start, end = place(mutant, text)
        if mutant.is_rust:
            places.setdefault((start, end), []).append(mutant)
        elif mutant.sql:
            mutant.variables |= {"SMACHE_MUTANT_FROM": mutant.old, "SMACHE_MUTANT_TO": mutant.new}
        else:
            replaced = text[:start] + mutant.new + text[end:]
            mutant.variables |= {"SMACHE_MUTANT_FROM": text, "SMACHE_MUTANT_TO": replaced}
        mutant.variables["SMACHE_MUTANT"] = str(mutant.number)
    last = len(text)
    for (start, end), at_place in sorted(places.items(), reverse=True):
        if end > last:
            raise Wrong(f"{path}: the old lines of {at_place[0].name!r} overlap with those of another mutant")
        text = text[:start] + switched(at_place) + text[end:]
        last = start
    return text


def copy(found):
    """Brings the copy up to date. A file that is as it was stays untouched, so that cargo builds only what has changed."""
    by_file = {}
    for mutants in found.values():
        for mutant in mutants:
            if mutant.file:
                by_file.setdefault(mutant.file, []).append(mutant)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    files = {}
    for name in listed.split("\0"):
        path = ROOT / name
        if name and path.is_file():
            files[name] = path.read_bytes()
    for name, mutants in by_file.items():
        files[name] = patched(name, files[name].decode(), mutants).encode()
    for package in sorted({tests.package for tests in BACKENDS.values()}):
        files[f"{package}/src/lib.rs"] += b"\nmod mutants;\n"
        files[f"{package}/src/mutants.rs"] = SWITCH.encode()
    present = {str(path.relative_to(TREE)) for path in TREE.rglob("*") if path.is_file()} if TREE.exists() else set()
    for name in present - files.keys():
        (TREE / name).unlink()
    for name, content in files.items():
        path = TREE / name
        if name not in present or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            shutil.copymode(ROOT / name, path) if (ROOT / name).exists() else None


# --------------------------------------------------------------------------------------------------------------- the runs


def environment(**more):
    return {**os.environ, "RUST_BACKTRACE": "0", **more}


def build(tests):
    """Builds the tests of a package, and says where the program is."""
    command = ["cargo", "test", "--no-run", "-p", tests.package, "--test", tests.target]
    command += ["--features", f"{tests.features}smache-core/mutants", "--message-format=json-render-diagnostics"]
    done = subprocess.run(
        command, cwd=TREE, stdout=subprocess.PIPE, text=True, env=environment(CARGO_TARGET_DIR=str(WORK / "target"))
    )
    if done.returncode != 0:
        raise Wrong(f"the copy of {tests.package} does not compile: the messages are above, for files in {TREE}")
    for line in done.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message["target"]["name"] == tests.target:
            return message["executable"]
    raise Wrong(f"cargo has built no test {tests.target} of {tests.package}")


running = None


def end_running(*_):
    if running and running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def run(program, tests, filters, variables, bound):
    """Runs some tests until one fails. Returns its name, `hangs`, `ends` or `None`, and how many passed."""
    global running
    threads = 12 if tests.servers else 4
    command = [program, "--test-threads", str(threads), *filters]
    running = subprocess.Popen(
        command,
        cwd=TREE / tests.package,
        env=environment(SMACHE_COMPARE_SECONDS=COMPARE_SECONDS, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    passed, rest, deadline = 0, b"", time.monotonic() + bound
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(running.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    return "hangs", passed
                piece = os.read(running.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if found := re.match(r"test (\S+) \.\.\. (ok|FAILED)", line.decode(errors="replace")):
                        if found[2] == "FAILED":
                            return found[1].split("::")[-1], passed
                        passed += 1
        return (None if running.wait(30) == 0 else "ends"), passed
    except subprocess.TimeoutExpired:
        return "hangs", passed
    finally:
        end_running()
        running.stdout.close()


SHAPES = {
    "store_and_queue_agree_with_the_protocol": "together",
    "store_alone_agrees_with_the_protocol": "store",
    "queue_alone_agrees_with_the_protocol": "queue",
}


def cell(result):
    if result is None:
        return "lives"
    if result in ("hangs", "ends"):
        return result
    return SHAPES.get(result) or f"`{result}`"


def table(backend, mutants):
    """Runs the mutants of a backend. Returns the table, and those that live without a reason."""
    on = PROTOCOL.get(backend, backend)
    tests = BACKENDS[on]
    program = build(tests)
    # The protocol as data calls the functions that a mutant of the protocol breaks: both sides would be equal.
    parts = [tests.suites] if backend in PROTOCOL else [tests.suites, [tests.comparison]]
    bounds = []
    for filters in parts:
        began = time.monotonic()
        result, passed = run(program, tests, filters, {}, 900)
        took = time.monotonic() - began
        if result is not None or passed == 0:
            raise Wrong(f"{backend}: without a mutant, {' '.join(filters)} {result or 'has no case'}")
        print(f"{backend}: {passed} cases pass without a mutant, {took:.0f} s", file=sys.stderr, flush=True)
        bounds.append(4 * took + 60)
    columns = ["mutant", "suites", "comparison"][: 1 + len(parts)]
    lines, alive, dead = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"], [], 0
    reasons = []
    for mutant in mutants:
        results = [run(program, tests, filters, mutant.variables, bound)[0] for filters, bound in zip(parts, bounds)]
        name = f"`{mutant.name}`" if backend in PROTOCOL else mutant.name
        lines.append(f"| {' | '.join([name, *map(cell, results)])} |")
        print(lines[-1], file=sys.stderr, flush=True)
        if any(results):
            dead += 1
            if mutant.lives:
                print(f"{backend}: {mutant.name} dies, and has a reason to live", file=sys.stderr)
        elif mutant.lives:
            reason = f"* {name} lives: {mutant.lives}."
            reasons += textwrap.wrap(reason, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        else:
            alive.append(f"{backend}: {mutant.name}")
    head = f"### {backend}\n\n{len(mutants)} mutants, {dead} killed ({time.strftime('%-d %B %Y')}).\n"
    return "\n".join([head, *lines, *([""] if reasons else []), *reasons]) + "\n", alive


def write(backend, text):
    """Replaces the table of a backend in the page."""
    head, *sections = re.split(r"(?m)^(?=### )", PAGE.read_text())
    by_name = {section.split("\n", 1)[0].removeprefix("### "): section for section in sections}
    by_name[backend] = text
    order = [*PROTOCOL, *BACKENDS]
    tables = [by_name[name].strip("\n") for name in sorted(by_name, key=order.index)]
    PAGE.write_text("\n\n".join([head.strip("\n"), *tables]) + "\n")


def main(arguments):
    found = lists()
    backends = [name for name in arguments if name in found and name != "seams"]
    parts = [name for name in arguments if name not in backends]
    if "--needs-servers" in parts:
        return 0 if any(BACKENDS[PROTOCOL.get(name, name)].servers for name in backends or [*BACKENDS]) else 1
    writes = "--write" in parts
    parts = [part for part in parts if part != "--write"]
    if writes and parts:
        raise Wrong("--write is about whole tables: leave out the parts of names")
    copy(found)
    alive = []
    for backend in backends or [*BACKENDS, *PROTOCOL]:
        mutants = [
            mutant
            for mutant in found[backend]
            if not mutant.is_seam and (not parts or any(part in mutant.name for part in parts))
        ]
        if not mutants:
            continue
        text, living = table(backend, mutants)
        alive += living
        print(text, flush=True)
        if writes:
            write(backend, text)
    for name in alive:
        print(f"lives without a reason: {name}", file=sys.stderr)
    return 1 if alive else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        WORK.mkdir(parents=True, exist_ok=True)
        sys.exit(main(sys.argv[1:]))
    except Wrong as wrong:
        print(f"scripts/mutants: error: {wrong}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        end_running()
