#!/usr/bin/env python3
"""Runs that are killed at random times, again and again, and end as if they had not been.

usage: tests/cli/test_kill.py [-v]             needs build/graft, or the program that $GRAFT names

$GRAFT_KILLS is the number of kills (default 50), $GRAFT_SEED that of the random times (default 1).
The kills hit whatever the program does at that time: its start, training, a save, the end; and what
goes on from there is killed in turn. See docs/promises.md.
"""
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from runs import ALONE, GRAFT, RECIPE, Case, log_of, make_project, without_times

KILLS = int(os.environ.get("GRAFT_KILLS", "50"))
SEED = int(os.environ.get("GRAFT_SEED", "1"))
SIGNALS = max(20, KILLS // 10)


class Killed(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        phases = [{**phase, "epochs": 1} for phase in RECIPE["phases"]]
        recipe = {**RECIPE, "phases": phases, "save": {"every_steps": 5, "keep": 2}}
        cls.recipe = make_project(cls.folder / "small", recipe)
        cls.whole = cls.folder / "whole"
        begin = time.monotonic()
        subprocess.run(cls.command(cls.whole, False), check=True, stderr=subprocess.DEVNULL)
        cls.seconds = time.monotonic() - begin
        cls.times = random.Random(SEED)

    @classmethod
    def command(cls, run, goes_on):
        if goes_on:
            return [GRAFT, "resume", str(run), "--quiet", *map(str, ALONE)]
        return [GRAFT, "train", str(cls.recipe), "--output", str(run), "--force", "--quiet",
                *map(str, ALONE)]

    def assert_as_uninterrupted(self, run):
        self.assert_same_results(run, self.whole)
        self.assertEqual(without_times(log_of(run)), without_times(log_of(self.whole)))
        self.assertEqual(list(run.rglob("*.tmp")), [])

    def start(self, run):
        """Goes on with a run, or begins it where nothing was saved yet."""
        goes_on = any((run / "checkpoints").glob("step-*.h5"))
        return goes_on, subprocess.Popen(self.command(run, goes_on), stdin=subprocess.DEVNULL,
                                         stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def hit(self, run, number):
        """Sends a signal at a random time: (whether a checkpoint was there, exit status)."""
        goes_on, p = self.start(run)
        try:
            p.wait(self.times.uniform(0, 0.8 * self.seconds))
        except subprocess.TimeoutExpired:
            p.send_signal(number)
        error = p.communicate(timeout=60)[1].decode()
        self.assertIn(p.returncode, (0, -number, 128 + number), error)
        return goes_on, p.returncode

    def test_killed_at_random_times(self):
        kills = in_resumed = ends = 0
        while kills < KILLS:
            run = self.folder / "killed"
            shutil.rmtree(run, ignore_errors=True)
            status = None
            while status != 0:
                goes_on, status = self.hit(run, signal.SIGKILL)
                kills += status != 0
                in_resumed += status != 0 and goes_on
            self.assert_as_uninterrupted(run)
            ends += 1
        print(f"    {kills} kills, {in_resumed} of them of resumed runs, {ends} runs to their end")
        self.assertGreaterEqual(kills, KILLS)
        self.assertGreaterEqual(in_resumed, KILLS // 4)

    def test_interrupted_at_random_times(self):
        done = {signal.SIGINT: 0, signal.SIGTERM: 0}
        ended = unheard = 0
        for i in range(SIGNALS):
            number = (signal.SIGINT, signal.SIGTERM)[i % 2]
            run = self.folder / "interrupted"
            shutil.rmtree(run, ignore_errors=True)
            _, status = self.hit(run, number)
            done[number] += status == 128 + number
            ended += status == 0
            unheard += status == -number  # before the program could ask for it
            p = self.start(run)[1]
            self.assertEqual((p.wait(60), p.communicate()[1]), (0, b""))
            self.assert_as_uninterrupted(run)
        print(f"    {sum(done.values())} interruptions, {ended} came too late, {unheard} too early")
        self.assertGreater(min(done.values()), SIGNALS // 5)
        self.assertLess(unheard, SIGNALS // 4)


if __name__ == "__main__":
    unittest.main()
