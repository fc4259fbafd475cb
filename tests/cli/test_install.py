#!/usr/bin/env python3
"""What make install brings: the files, a library that other programs build and run against, in C
and C++, shared and static, and a manual that renders without a complaint."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import runs

CC = os.environ.get("CC", "cc")
HEADER = (runs.ROOT / "include/graft.h").read_text()
API = (runs.ROOT / "docs/api.md").read_text()
VERSION = re.search(r'GRAFT_VERSION "(.*)"', HEADER)[1]
TEXTS = ["The cheese was tasty", "The lamp arrived broken"]  # those of docs/api.md
COMMANDS = re.findall(r"^GF_COMMAND\((\w+)\)", (runs.ROOT / "cli/commands.def").read_text(), re.M)
PAGES = (["man1/graft.1", "man3/libgraft.3", "man5/graft-recipe.5"]
         + [f"man1/graft-{command}.1" for command in COMMANDS])
FILES = (["bin/graft", "include/graft.h", "lib/libgraft.a", "lib/libgraft.so", "lib/libgraft.so.0",
          f"lib/libgraft.so.{VERSION}", "lib/pkgconfig/graft.pc"]
         + ["share/man/" + page for page in PAGES])

# A program with a cJSON of its own: graft must leave the allocator, which cJSON keeps for the whole
# process, as it is, also while graft reads JSON.
HOST = r"""
#include <cjson/cJSON.h>
#include <graft.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *texts[] = {"The cheese was tasty", ""};
    for (int i = 1; i < argc; i++) {
        cJSON *before = cJSON_Parse("{\"a\": [1, 2]}"), *after;
        graft_error e;
        graft_model *m = graft_open(argv[i], 1, &e);
        float *x = m ? malloc(sizeof *x * 2 * (size_t)graft_embedding_size(m)) : NULL;
        if (!x || !graft_embed(m, texts, 2, x, &e)) return 1;
        after = cJSON_Parse("[3]");
        cJSON_Delete(before);
        free(cJSON_Print(after));
        graft_close(m);
        cJSON_Delete(after);
        free(x);
    }
    return graft_open("/nowhere", 1, NULL) ? 2 : 0;
}
"""

CXX = r"""
#include <graft.h>
#include <cstdio>
int main() {
    graft_error e = {};
    graft_model *m = graft_open("/nowhere", 1, &e);
    std::printf("%d %d %s\n", m == nullptr, e.code == GRAFT_ERROR_MODEL, graft_version());
}
"""


def clean_environment(**more):
    """Without what an outer make hands on to an inner one."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("MAKE")}, **more}


def shell(command, cwd=runs.ROOT, **environment):
    done = subprocess.run(["bash", "-euc", command], cwd=cwd, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=600,
                          env=clean_environment(**environment))
    if done.returncode != 0:
        raise AssertionError(f"{command}\nended with {done.returncode}:\n"
                             f"{done.stdout}{done.stderr}")
    return done


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def code_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", API, re.M | re.S)


class Staged(unittest.TestCase):
    """make install DESTDIR=... as a packager runs it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(runs.tempfile.mkdtemp(prefix="graft-test-")).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.stage = cls.folder / "a stage"
        cls.arguments = f"DESTDIR='{cls.stage}' PREFIX=/opt/graft"
        shell(f"make -s install {cls.arguments}")
        cls.root = cls.stage / "opt/graft"
        cls.manual = cls.root / "share/man"

    def pkg_config(self, *options):
        path = str(self.root / "lib/pkgconfig")
        return subprocess.run(["pkg-config", *options, "graft"], text=True, capture_output=True,
                              check=True,
                              env=clean_environment(PKG_CONFIG_PATH=path)).stdout.split()

    def render(self, page, *options):
        return subprocess.run(["groff", "-man", "-ww", "-K", "utf8", *options,
                               self.manual / page], text=True, capture_output=True)

    def test_every_file_and_no_other(self):
        self.assertEqual(files_below(self.root), sorted(FILES))
        self.assertEqual(files_below(self.stage), sorted("opt/graft/" + f for f in FILES))
        self.assertEqual(os.readlink(self.root / "lib/libgraft.so"), "libgraft.so.0")
        self.assertEqual(os.readlink(self.root / "lib/libgraft.so.0"), f"libgraft.so.{VERSION}")
        for name in FILES:
            mode = (self.root / name).stat().st_mode & 0o777
            executable = name == "bin/graft" or ".so" in name
            self.assertEqual(mode, 0o755 if executable else 0o644, name)
        done = subprocess.run([self.root / "bin/graft", "version"], text=True, capture_output=True)
        self.assertTrue(done.stdout.startswith(f"graft {VERSION}\n"), done)

    def test_the_stage_is_in_no_file(self):
        for name in FILES:
            if name.endswith((".pc", ".h", ".1", ".3", ".5")):
                text = (self.root / name).read_text()
                self.assertNotIn("a stage", text, name)
                self.assertIsNone(re.search(r"@[A-Z]+@", text), name)

    def test_pkg_config(self):
        self.assertEqual(self.pkg_config("--modversion"), [VERSION])
        self.assertEqual(self.pkg_config("--cflags"), ["-I/opt/graft/include"])
        self.assertEqual(self.pkg_config("--libs"), ["-L/opt/graft/lib", "-lgraft"])
        static = self.pkg_config("--static", "--libs")
        for library in ["-lgraft", "-lhdf5", "-lcjson", "-lpthread", "-lm"]:
            self.assertIn(library, static)

    def test_another_library_folder(self):
        other = self.folder / "other"
        where = f"DESTDIR={other} PREFIX=/usr LIBDIR=/usr/lib/here MANDIR=/usr/man"
        shell(f"make -s install {where}")
        found = files_below(other / "usr")
        self.assertEqual(len(found), len(FILES))
        for name in ["lib/here/libgraft.so.0", "lib/here/pkgconfig/graft.pc", "man/man1/graft.1"]:
            self.assertIn(name, found)
        self.assertIn("libdir=${prefix}/lib/here\n",
                      (other / "usr/lib/here/pkgconfig/graft.pc").read_text())
        shell(f"make -s uninstall {where}")
        self.assertEqual(files_below(other), [])

    def test_uninstall_removes_its_own_files_only(self):
        copy = self.folder / "copy"
        shutil.copytree(self.stage, copy, symlinks=True)
        (copy / "opt/graft/lib/libother.so").write_text("")
        shell(f"make -s uninstall DESTDIR={copy} PREFIX=/opt/graft")
        self.assertEqual(files_below(copy), ["opt/graft/lib/libother.so"])

    def test_the_shared_library_exports_the_header_and_no_more(self):
        library = self.root / "lib/libgraft.so"
        names = re.findall(r"\b(graft_\w+)\(", "".join(re.findall(r"^GRAFT_API .*", HEADER, re.M)))
        listed = shell(f"nm -D --defined-only '{library}'").stdout
        self.assertEqual(sorted(re.findall(r" [A-Z] (\w+)", listed)), sorted(names))
        self.assertEqual(len(names), 15)
        self.assertIn("[libgraft.so.0]", shell(f"readelf -d '{library}'").stdout)

    def test_the_header_is_c99_c11_and_cxx(self):
        include = f"-I'{self.root}/include' -Wall -Wextra -Wpedantic -Werror -fsyntax-only"
        for standard in ["c99", "c11"]:
            shell(f"echo '#include <graft.h>' | {CC} -std={standard} {include} -xc -")
        if not shutil.which("g++"):
            self.skipTest("no g++")
        program, made = self.folder / "host.cc", self.folder / "host-cxx"
        program.write_text(CXX)
        shell(f"g++ -std=c++11 {include} {program}")
        shell(f"g++ {program} -I'{self.root}/include' -L'{self.root}/lib' -lgraft -o {made}")
        done = shell(str(made), LD_LIBRARY_PATH=str(self.root / "lib"))
        self.assertEqual(done.stdout, f"1 1 {VERSION}\n")

    def test_pages_hold_what_help_says(self):
        for command in COMMANDS:
            text = shell(f"'{self.root}/bin/graft' {command} --help").stdout
            page = (self.manual / f"man1/graft-{command}.1").read_text()
            page = page.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")
            for word in text.replace("usage:", "").replace("example:", "").split():
                self.assertIn(word, page, command)
            self.assertIn(f"graft-{command} (1)",
                          (self.manual / "man1/graft.1").read_text().replace("\\-", "-"))

    def test_the_api_page_follows_the_header(self):
        page = (self.manual / "man3/libgraft.3").read_text()
        for prototype in re.findall(r"^GRAFT_API ([^;]*);", HEADER, re.M):
            self.assertIn(re.sub(r"\W", "", prototype), re.sub(r'\.BI?|\W', "", page))
        codes = re.findall(r"(GRAFT_ERROR_\w+) = (\d)", HEADER)
        self.assertEqual(re.findall(r'(GRAFT_ERROR_\w+) " \((\d)\)"', page), codes)

    def test_pages_render_within_80_columns(self):
        if not shutil.which("groff"):
            self.skipTest("no groff")
        for page in PAGES:
            done = self.render(page, "-Tutf8", "-P-c", "-rLL=80n")
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)
            lines = re.sub(r".\x08", "", done.stdout).splitlines()
            self.assertGreater(len(lines), 12, page)
            # an example is shown as it stands, seven columns in
            self.assertEqual([line for line in lines
                              if len(line) > 80 and not line.startswith("       graft ")], [], page)

    def test_man_shows_the_pages(self):
        if not shutil.which("man"):
            self.skipTest("no man")
        for page in PAGES:
            done = shell(f"man --warnings=w -l '{self.manual / page}'", MANWIDTH="80", LC_ALL="C")
            self.assertIn("NAME", done.stdout, page)
            self.assertEqual(done.stderr, "", page)


class Installed(runs.Case):
    """docs/api.md, word for word, in a home folder where demo/runs/two-phase is a trained run."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = cls.folder / "home"
        (cls.home / "demo/runs").mkdir(parents=True)
        done = runs.graft("train", cls.recipe, "--output", cls.home / "demo/runs/two-phase",
                          "--quiet", *runs.ALONE, *runs.sets(phases__1__epochs=1))
        assert done.returncode == 0, done.stderr
        cls.program, = code_blocks("c")
        (cls.home / "predict.c").write_text(cls.program)
        cls.steps, cls.static = code_blocks("sh")
        cls.printed = cls.do(cls.steps).stdout

    @classmethod
    def do(cls, steps):
        """Steps of the page, where make is that of the sources and quiet."""
        setting = (f"make() {{ command make -s -C '{runs.ROOT}' \"$@\" >&2; }}; "
                   "export PKG_CONFIG_PATH=$HOME/graft/lib/pkgconfig; ")
        return shell(setting + steps, cwd=cls.home, HOME=str(cls.home))

    def test_the_example_is_short(self):
        lines = self.program.splitlines()
        self.assertLessEqual(len(lines), 30)
        self.assertLessEqual(max(map(len, lines)), 100)

    def test_the_example_prints_what_predict_does(self):
        done = self.ok("predict", "--model", self.home / "demo/runs/two-phase", *TEXTS)
        want = [(task, value["label"], value["score"])
                for line in done.stdout.splitlines()
                for task, value in json.loads(line).items() if task != "text"]
        got = [re.fullmatch(r"(\w+): (.+) (\d\.\d{4})", line).groups()
               for line in self.printed.splitlines()]
        self.assertEqual([g[:2] for g in got], [w[:2] for w in want])
        self.assertEqual(len(got), 4)
        for g, w in zip(got, want):
            self.assertAlmostEqual(float(g[2]), w[2], delta=1e-4)

    def test_the_example_has_no_warnings_and_no_leaks(self):
        libraries = "$(pkg-config --cflags --libs graft)"
        self.do(f"{CC} -std=c11 -Wall -Wextra -Werror predict.c {libraries} -o strict")
        self.do(f"{CC} -g -fsanitize=address,undefined predict.c {libraries} -o checked; "
                "LD_LIBRARY_PATH=$HOME/graft/lib ./checked demo/runs/two-phase a b c")

    def test_the_example_tells_of_failure(self):
        done = subprocess.run([self.home / "predict", "nowhere", "text"], text=True,
                              capture_output=True, cwd=self.home,
                              env={**os.environ, "LD_LIBRARY_PATH": str(self.home / "graft/lib")})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"^nowhere: .*; .*\n$")

    def test_the_static_library(self):
        self.do(self.static)
        needed = shell("readelf -d predict", cwd=self.home).stdout
        self.assertNotIn("libgraft", needed)
        self.assertIn("libhdf5", needed)
        self.assertNotIn("libopenblas", needed)
        done = self.do("./predict demo/runs/two-phase " + " ".join(f"'{t}'" for t in TEXTS))
        self.assertEqual(done.stdout, self.printed)

    def test_the_program_around_it_keeps_its_cjson(self):
        (self.home / "host.c").write_text(HOST)
        done = self.do(f"{CC} host.c $(pkg-config --cflags --libs graft libcjson) -o host; "
                       "LD_LIBRARY_PATH=$HOME/graft/lib ./host demo/runs/two-phase "
                       "demo/runs/two-phase/model demo/runs/two-phase/checkpoints/best.h5")
        self.assertEqual((done.stdout, done.stderr), ("", ""))


if __name__ == "__main__":
    unittest.main()
