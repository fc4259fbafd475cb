"""tests/run must not miss a failure: each way to fail is acted out by a small shell command."""
import os
import re
import subprocess
import unittest

RUN = os.path.join(os.path.dirname(__file__), "..", "run")
START = "echo '[==========] Running 2 test(s).'; "
PASS = "echo '[ RUN      ] a'; echo '[       OK ] a'; "
FAIL = "echo '[ RUN      ] b'; echo '[  FAILED  ] b'; "
SKIP = "echo '[ RUN      ] c'; echo '[  SKIPPED ] c'; "
UNITTEST = "printf 'Ran 5 tests in 0.1s\\n\\n%s\\n' "


class Run(unittest.TestCase):
    def check(self, commands, passed, failed, skipped, says=""):
        done = subprocess.run([RUN, "--limit", "5", *commands], capture_output=True, text=True)
        last = done.stdout.splitlines()[-1]
        self.assertEqual(last, f"{passed} passed, {failed} failed, {skipped} skipped", done.stdout)
        self.assertEqual(done.returncode, 1 if failed else 0)
        self.assertIn(says, done.stdout)
        return done.stdout

    def test_all_pass(self):
        out = self.check([START + PASS + SKIP + "echo secret", "check: echo secret"], 2, 0, 1)
        # "secret" shows in the two command lines alone, not as output
        self.assertEqual(len(re.findall(r"^\s+secret$", out, re.M)), 0)

    def test_failure_is_counted_once_although_cmocka_lists_it_twice(self):
        listing = "echo '[  FAILED  ] 1 test(s), listed below:'; echo '[  FAILED  ] b'; exit 1"
        self.check([START + PASS + FAIL + listing], 1, 1, 0, "failed: b")

    def test_crash_in_a_test(self):
        self.check([START + PASS + "echo '[ RUN      ] b'; kill -SEGV $$"], 1, 1, 0, "SIGSEGV in b")

    def test_exit_0_before_the_last_test(self):
        self.check([START + PASS + "exit 0"], 1, 1, 0, "between two tests")

    def test_failure_after_the_last_test(self):  # a leak report, for one
        self.check([START + PASS + SKIP + "exit 23"], 1, 1, 1, "status 23 after its tests")

    def test_no_test(self):
        self.check(["true"], 0, 1, 0, "ran no test")

    def test_hanging(self):
        self.check(["--limit", "0.2", START + PASS + "sleep 60"], 1, 1, 0, "ran out of time")

    def test_missing_program(self):
        self.check(["./no-such-program"], 0, 1, 0, "status 127")

    def test_check(self):
        self.check(["check: true", "check: false"], 1, 1, 0)

    def test_unittest(self):
        self.check([UNITTEST + "OK"], 5, 0, 0)
        self.check([UNITTEST + "'OK (skipped=2)'"], 3, 0, 2)
        self.check([UNITTEST + "'FAILED (failures=1, errors=1, skipped=1)'; exit 1"], 2, 2, 1)


if __name__ == "__main__":
    unittest.main()
