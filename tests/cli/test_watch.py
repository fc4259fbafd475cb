#!/usr/bin/env python3
"""What a person who watches a run sees, on a terminal and elsewhere.

usage: tests/cli/test_watch.py [-v]            needs build/graft, or the program that $GRAFT names
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unittest

from runs import ALL, ALONE, GRAFT, HEADS, Case, graft, sets

ESCAPE = "\x1b"
LINE = (
    r"(?P<phase>\S+) (?P<number>\d)/2  step (?P<step>\d+)/(?P<steps>\d+)  "
    r"(?P<left>\d+s|\d+m\d\ds) left  category (?P<category>\d+\.\d{4})  sentiment (\d+\.\d{4}|-)  "
    r"lr (?P<lr>[\d.e+-]+(/[\d.e+-]+)*)  (?P<speed>\d+) (tokens|rows)/s  "
    r"(?P<memory>\d+) MiB"
)
HEADING = r"task +rows +loss +accuracy +macro-F1"


def on_terminal(*args, columns=200, **env):
    """(status, standard output, what the terminal on standard error got)"""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    p = subprocess.Popen(
        [GRAFT, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={**variables, "TERM": "xterm", **env},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last one who could write has gone
            break
        if not part:
            break
        seen += part
    os.close(ours)
    out = p.communicate(timeout=60)[0]
    return p.returncode, out.decode(), seen.decode().replace("\r\n", "\n")


class Watched(Case):
    def watch(self, *args, **more):
        status, out, seen = on_terminal(
            "train", self.recipe, "--output", self.folder / "run", "--force", *ALONE, *args, **more
        )
        self.assertEqual(status, 0, seen)
        self.assertEqual(out, "")
        return seen

    def drawn(self, seen):
        """The steps that stood in the moving line, one after the other."""
        parts = [part.split("\n")[0] for part in seen.split("\r" + ESCAPE + "[K")[1:]]
        return [part for part in parts if not re.match("encoding|dev after|best model|$", part)]


class Terminal(Watched):
    def test_one_line_moves_and_tables_stay(self):
        seen = self.watch()
        drawn = self.drawn(seen)
        fields = [re.fullmatch(LINE, line) for line in drawn]
        self.assertTrue(all(fields), drawn)
        ends = [
            (f["phase"], f["step"], f["steps"], f["left"])
            for f in fields
            if f["step"] == f["steps"]
        ]
        self.assertEqual(ends, [("heads", "25", str(HEADS), "0s"), ("all", "75", str(ALL), "0s")])
        self.assertLess(len(drawn), HEADS + ALL)  # it is drawn ten times a second at most
        for f in fields:
            self.assertEqual(f["lr"].count("/"), 0 if f["phase"] == "heads" else 1)
            self.assertGreater(int(f["memory"]), 5)
        stays = re.sub("\r" + ESCAPE + r"\[K[^\r\n]*", "", seen)
        self.assertNotIn("\r", stays)
        self.assertNotIn(ESCAPE, stays)
        self.assertEqual(len(re.findall(HEADING, stays)), 4 + 2)  # four epochs, the best twice
        self.assertEqual(len(re.findall(r"(?m)^dev after epoch \d of ", stays)), 4)
        self.assertEqual(len(re.findall(r"(?m)^category +\d+ +\d+\.\d{4} ", stays)), 6)
        self.assertRegex(stays, r"(?m)^category +\d+ +\d\.\d{4} \([+-]\d\.\d{4}\)")  # the change
        self.assertRegex(stays, r"(?m)^done: the model is in .*/run/model, .*metrics.json$")

    def test_the_line_is_cut_to_the_width(self):
        for columns in (40, 79):
            drawn = self.drawn(self.watch(columns=columns))
            self.assertTrue(drawn)
            self.assertEqual(max(len(line) for line in drawn), columns - 1)
            self.assertTrue(all(line.startswith(("heads 1/2", "all 2/2")) for line in drawn))

    def test_the_cut_splits_no_character(self):
        for columns in (30, 31):  # undecodable bytes would raise
            drawn = self.drawn(self.watch(*sets(phases__0__name="ä" * 40), columns=columns))
            self.assertTrue(drawn[0].startswith("ää"))

    def test_no_colour_and_dumb_terminals_get_plain_lines(self):
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            seen = self.watch(**env)
            self.assertNotIn("\r", seen)
            self.assertNotIn(ESCAPE, seen)
            self.assertEqual(len(re.findall(rf"(?m)^{LINE}$", seen)), HEADS + ALL)

    def test_an_empty_no_color_is_none(self):
        self.assertIn("\r" + ESCAPE + "[K", self.watch(NO_COLOR=""))

    def test_quiet(self):
        self.assertEqual(self.watch("--quiet"), "")

    def test_an_error_stands_on_a_line_of_its_own(self):
        phases = [
            {"name": "heads", "trainable": {"heads.*": {"lr": 1e-3}}},
            {"name": "bad", "trainable": {"*": {"lr": 1e15}}},
        ]
        status, _, seen = on_terminal(
            "train", self.recipe, "--output", self.folder / "bad", *ALONE, *sets(phases=phases)
        )
        self.assertEqual(status, 5)
        self.assertTrue(seen.splitlines()[-1].startswith("graft: error: "), seen)
        self.assertTrue(seen.endswith("\n"))


class Pipe(Watched):
    def test_a_line_for_each_line_of_the_log(self):
        for every, count in ((1, HEADS + ALL), (10, 3 + 8)):
            done = graft(
                "train",
                self.recipe,
                "--output",
                self.folder / "piped",
                "--force",
                *ALONE,
                *sets(log__every_steps=every),
                env={"TERM": "xterm"},
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertIsNone(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stderr))
            lines = [m for m in (re.fullmatch(LINE, x) for x in done.stderr.splitlines()) if m]
            self.assertEqual(len(lines), count)
            self.assertEqual(len(re.findall(HEADING, done.stderr)), 6)

    def test_quiet(self):
        done = graft("train", self.recipe, "--output", self.folder / "quiet", "--quiet", *ALONE)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        done = graft("resume", self.folder / "quiet", "--quiet", *ALONE)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        for command in ("plan", "check"):
            done = graft(command, self.recipe, "--quiet")
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_results_of_plan_and_check_go_to_standard_output(self):
        for command in ("plan", "check"):
            done = graft(command, self.recipe)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertGreater(len(done.stdout.splitlines()), 20)
            self.assertIsNone(re.search(r"[\x0b-\x1f\x7f]", done.stdout))

    def test_quiet_does_not_hide_an_error(self):
        self.fails(3, "train", self.recipe, "--quiet", *sets(seed=-1), says="seed is -1")

    def test_a_full_disk_behind_standard_output(self):
        with open("/dev/full", "w") as full:
            for command in ("plan", "check"):
                done = subprocess.run(
                    [GRAFT, command, self.recipe],
                    stdout=full,
                    text=True,
                    stderr=subprocess.PIPE,
                    timeout=60,
                )
                self.assertEqual(done.returncode, 6)
                self.assertRegex(done.stderr, r"^graft: error: .*\n$")


if __name__ == "__main__":
    unittest.main()
