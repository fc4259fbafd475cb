"""scripts/lint and scripts/layers must refuse each kind of violation, and nothing else."""
import os
import shutil
import subprocess
import tempfile
import unittest

REPO = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLEAN = '''#include "core/err.h"

#include <stdio.h>

/* malloc(1) in a comment, and printf("x") in one, are no calls. */
typedef struct pair {
    int a, b;
} pair;

enum { SIZE = 4 };

static const char *const names[] = {"free(x)", "{", "}"};
static const pair zero = {0, 0};
static int first(const pair *p);
static const int (*const calls[])(const pair *p) = {0};

static int first(const pair *p) {
    static const int offset = 1;
    char text[SIZE];
    snprintf(text, sizeof text, "%s", names[0]);
    return p->a + offset + zero.b;
}

int gf_first(const pair *p) { return first(p); }
'''


def function(lines):
    return "int f(void) {\n" + "    f();\n" * (lines - 2) + "}\n"


class Tree(unittest.TestCase):
    """A source tree of its own for each test."""

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        shutil.copy(os.path.join(REPO, ".clang-format"), self.root)

    def write(self, path, text):
        whole = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "w", encoding="utf-8", newline="") as file:
            file.write(text)

    def run_script(self, script, environment=None):
        return subprocess.run(["python3", os.path.join(REPO, "scripts", script), self.root],
                              capture_output=True, text=True, env=environment)

    def refused(self, script, place, problem):
        done = self.run_script(script)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(place, done.stderr)
        self.assertIn(problem, done.stderr)

    def accepted(self, script):
        done = self.run_script(script)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout


class Lint(Tree):
    def check(self, text, problem, line=1, path="optim/x.c"):
        self.write(path, text)
        self.refused("lint", f"{path}:{line}: ", problem)

    def test_clean_tree(self):
        self.write("optim/clean.c", CLEAN.replace('"core/err.h"', "<stdint.h>"))
        out = self.accepted("lint")
        self.assertIn("2 functions; lines: median 3.5, 90th percentile 6, longest 6", out)
        self.assertIn("largest optim/clean.c, 24 lines", out)

    def test_long_function(self):
        self.write("core/short.c", "int g(void) { return 0; }\nint h(void) { return 0; }\n")
        self.write("core/x.c", function(60))
        self.accepted("lint")
        self.check(function(61), "f() has 61 lines", path="core/x.c")

    def test_long_functions_on_the_whole(self):
        self.write("core/x.c", function(15))
        self.accepted("lint")
        self.write("core/x.c", function(16))
        self.refused("lint", ".:1: ", "median function has 16 lines")

    def test_long_file(self):
        self.write("core/x.inc", "int a(void);\n" * 600)
        self.accepted("lint")
        self.check("int a(void);\n" * 601, "601 lines, 600 allowed", 601, "core/x.inc")

    def test_long_line(self):  # characters count, not bytes
        self.write("core/x.h", "/* " + "é" * 94 + " */\n")
        self.accepted("lint")
        self.check("/* " + "é" * 95 + " */\n", "101 columns", path="core/x.h")

    def test_tab(self):
        self.check("/* a\tb */\n", "a tab")

    def test_white_space_at_the_end(self):
        self.check("/* a\n   \n*/\n", "white space", 2)

    def test_no_final_newline(self):
        self.check("/* a */", "no newline")

    def test_scripts_too(self):
        self.check("#!/bin/sh\ntrue \n", "white space", 2, "scripts/x")

    def test_format(self):
        self.check("int  f(void);\n", "clang-format would change it")

    def test_no_clang_format(self):
        self.write("core/x.c", "int  f(void);\n")
        folder = os.path.join(self.root, "bin")
        os.mkdir(folder)
        os.symlink(shutil.which("python3"), os.path.join(folder, "python3"))
        done = self.run_script("lint", {"PATH": folder})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("formatting was not checked", done.stdout)
        done = self.run_script("lint", {"PATH": folder, "CI": "true"})
        self.assertEqual(done.returncode, 1)

    def test_calls(self):
        for call, home in (("malloc(4)", "core/mem"), ("free(p)", "core/mem"),
                           ("fopen(a, b)", "core/io"), ("unlink(p)", "core/io"),
                           ("printf(p)", "cli"), ("fprintf(stderr, p)", "cli"), ("exit(1)", "cli")):
            with self.subTest(call):
                self.check(f"int f(void) {{ return {call}; }}\n", f"belongs in {home}")

    def test_calls_where_they_belong(self):
        self.write("core/mem.c", "void f(void *p) { free(p); }\n")
        self.write("core/io.c", "int f(int d) { return fsync(d); }\n")
        self.write("cli/main.c", "int f(void) { return printf(0); }\n")
        self.write("tests/x.c", "void f(void *p) { free(p), exit(1); }\n")
        self.write("data/x.c", "void f(io *p) { p->free(p), p->o.read(p), gf_free(p); }\n")
        self.accepted("lint")

    def test_variables(self):
        for text in ("static int count;\n", "int count = 3;\n", "static const char *name;\n",
                     "static struct pair s;\n", "static struct { int a; } s;\n",
                     "static _Atomic int n;\n",
                     "static void (*hook)(void);\n", "struct pair p = {0};\n",
                     "static float table[4];\n"):
            with self.subTest(text):
                self.check(text, "a variable that can change, at file scope")

    def test_variable_after_a_function(self):
        self.check("int f(void) { return 0; }\nint n;\n", "at file scope", 2)

    def test_static_variable_in_a_function(self):
        self.check("int f(void) {\n    static int n;\n    return n++;\n}\n", "static variable", 2)

    def test_variables_where_they_belong(self):
        for path in ("core/mem.c", "core/io_fault.c", "cli/x.c"):
            self.write(path, "static int n;\n")
        self.accepted("lint")


class Layers(Tree):
    ROOMS = ["core", "autograd", "model", "optim", "data", "checkpoints", "recipes", "cli",
             "include", "tests", "bench"]
    ALLOWED = {  # written out here once more, on purpose
        "core": "", "autograd": "core", "optim": "core", "data": "core", "include": "",
        "model": "core autograd optim data", "checkpoints": "core model data",
        "recipes": "core autograd model optim data checkpoints include",
        "cli": "core autograd model optim data checkpoints recipes include",
        "tests": "core autograd model optim data checkpoints recipes include cli bench",
        "bench": "core autograd model optim data checkpoints recipes include tests"}

    def test_every_arrow(self):
        for source in self.ROOMS:
            for target in self.ROOMS:
                self.write(f"{source}/x.c", f'/* a */\n#include "{target}/y.h"\n')
                with self.subTest(f"{source} -> {target}"):
                    if source == target or target in self.ALLOWED[source].split():
                        self.accepted("layers")
                    else:
                        self.refused("layers", f"{source}/x.c:2: ", f"must not include {target}")
            os.remove(os.path.join(self.root, source, "x.c"))

    def test_angle_brackets_hide_nothing(self):
        self.write("core/x.h", "#  include <data/y.h>\n")
        self.refused("layers", "core/x.h:1: ", "core must not include data")

    def test_public_header_by_its_short_name(self):
        self.write("include/graft.h", "#include <stdint.h>\n")
        self.write("cli/x.c", '#include "graft.h"\n')
        self.assertIn("cli         -> include 1", self.accepted("layers"))
        self.write("core/x.c", "#include <graft.h>\n")
        self.refused("layers", "core/x.c:1: ", "core must not include include")

    def test_room_must_be_named(self):
        for name in ("y.h", "../data/y.h"):
            self.write("core/x.c", f'#include "{name}"\n')
            self.refused("layers", "core/x.c:1: ", "room/file")


if __name__ == "__main__":
    unittest.main()
