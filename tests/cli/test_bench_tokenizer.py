"""bench/tokenizer writes ids, and what it says of them holds."""
import array
import json
import os
import subprocess
import unittest
import zlib

from runs import GRAFT, Case

TOKENIZER = os.path.join(os.path.dirname(GRAFT), "bench/tokenizer")


class BenchTokenizer(Case):
    def test_ids(self):
        project = self.folder / "project"
        done = subprocess.run([TOKENIZER, project / "bert", project / "train.jsonl", "--rounds",
                               "2", "--ids", self.folder / "ids"], capture_output=True, text=True,
                              timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        got = json.loads(done.stdout)
        vocabulary = (project / "bert/vocab.txt").read_text().splitlines()
        ends = [vocabulary.index("[CLS]"), vocabulary.index("[SEP]")]
        rows = [list(map(int, line.split(" ")))
                for line in (self.folder / "ids").read_text().splitlines()]
        numbers = array.array("i", sum(rows, []))
        self.assertEqual((got["texts"], got["tokens"]), (200, len(numbers)))
        self.assertTrue(all([row[0], row[-1]] == ends and len(row) > 2 for row in rows))
        self.assertEqual(got["ids_crc"], f"{zlib.crc32(numbers.tobytes()):08x}")
        self.assertGreater(got["tokens_s"], 0)


if __name__ == "__main__":
    unittest.main()
