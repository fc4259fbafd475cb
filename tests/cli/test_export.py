"""export, verify and diff as a user meets them. What other programs make of exports is in
tests/peers."""
import json
import shutil
import unittest

from runs import ALONE, ROOT, Case, graft, metrics_of, read_safetensors

FORMATS = ["hf", "sentence-transformers", "onnx", "safetensors"]  # which carry heads


class Exported(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "project/run"
        done = graft("train", cls.recipe, *ALONE)
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    def setUp(self):
        self.target = self.folder / self.id().rsplit(".", 1)[1]


class Export(Exported):
    def test_every_format_is_the_same_model_again(self):
        test = self.folder / "project/test.jsonl"
        for name in FORMATS:
            with self.subTest(name):
                out = self.folder / f"out-{name}"
                said = self.ok("export", self.run_folder, "--to", name, out)
                self.assertRegex(said.stdout, r"read again, \d\d+ tensors of \d+ elements: "
                                              r"largest difference 0\n$")
                self.assertEqual(said.stderr, "")
                self.assertRegex(self.ok("diff", self.run_folder, out).stdout, "^equal: ")
                evaluated = json.loads(self.ok("eval", out, test, "--json").stdout)
                for task, wanted in metrics_of(self.run_folder)["test"].items():
                    for key in ("loss", "accuracy", "macro_f1", "support"):
                        self.assertEqual(evaluated[task][key], wanted[key])

    def test_equal_models_give_equal_bytes(self):
        for name in FORMATS:
            folders = [self.folder / f"{k}-{name}" for k in "ab"]
            for out in folders:
                self.ok("export", self.run_folder, "--to", name, out)
            a, b = ({p.relative_to(f): p.read_bytes() for p in
                     ([f] if f.is_file() else f.rglob("*")) if p.is_file()} for f in folders)
            self.assertTrue(list(a.values()) == list(b.values()) and len(a) == len(b), name)
            self.assertNotIn(str(self.folder).encode(), b"".join(a.values()), "a place in a file")

    def test_narrow_weights(self):
        for name in ("hf", "sentence-transformers", "safetensors"):
            for dtype, most in (("f16", 1e-3), ("bf16", 1e-2)):
                out = self.folder / f"{dtype}-{name}"
                said = self.ok("export", self.run_folder, "--to", name, "--dtype", dtype,
                               out).stdout
                difference = float(said.split("difference ")[1])
                self.assertTrue(0 < difference < most, said)
                self.fails_to_compare(out)

    def fails_to_compare(self, out):
        done = graft("diff", self.run_folder, out)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^embeddings.position_embeddings.weight +\[64, 32\] +"
                                      r"\d+ of 2048 differ, by .* or \d+ ULPs$")
        self.assertRegex(done.stderr, r"^graft: error: .*: \d+ differences in \d+ tensors of both")

    def test_gguf_carries_the_encoder_alone(self):
        out = self.target.with_suffix(".gguf")
        self.fails(4, "export", self.run_folder, "--to", "gguf", out, says="--without-heads")
        self.assertFalse(out.exists())
        for dtype in ("f32", "f16"):
            self.ok("export", self.run_folder, "--to", "gguf", "--without-heads", "--dtype", dtype,
                    out)
            info = self.ok("info", out).stdout
            self.assertIn("general.architecture = bert", info)
            self.assertRegex(info, r"blk.0.attn_q.weight +" + dtype.upper())
        a = self.ok("embed", "--model", out, "The cheese was tasty").stdout
        self.assertEqual(len(json.loads(a)["embedding"]), 32)

    def test_refusals(self):
        out = self.target
        self.fails(2, "export", self.run_folder, out, says="no format; add --to hf")
        self.fails(2, "export", self.run_folder, "--to", "onx", out, says="did you mean onnx")
        self.fails(2, "export", self.run_folder, "--to", "hf", "--dtype", "f8", out,
                   says="f32, f16 or bf16 is wanted")
        self.fails(4, "export", self.run_folder, "--to", "onnx", "--dtype", "f16", out,
                   says="cannot carry other weights than f32")
        self.fails(4, "export", self.folder / "nowhere", "--to", "hf", out, says="no such file")
        out.mkdir()
        (out / "diary.txt").write_text("dear diary")
        for name in ("hf", "sentence-transformers", "onnx"):
            self.fails(6, "export", self.run_folder, "--to", name, out,
                       says="something else than a model")
        self.assertEqual([p.name for p in out.iterdir()], ["diary.txt"])
        self.assertEqual([p.name for p in self.folder.glob("*.tmp")], [])

    def test_a_model_card_comes_with_it(self):
        out = self.target
        self.ok("export", self.run_folder, "--to", "sentence-transformers", out)
        card = (out / "README.md").read_text()
        test = metrics_of(self.run_folder)["test"]["sentiment"]
        self.assertTrue(card.startswith("---\nlibrary_name: sentence-transformers\n"))
        self.assertIn("| sentiment | 3 | negative, neutral, positive |", card)
        self.assertIn(f"| sentiment | test | {test['support']} | {test['loss']:.4f} |", card)
        self.assertIn('"base":\t"bert"', card)

    def test_a_model_without_a_run_exports_too(self):
        self.ok("export", self.run_folder / "model", "--to", "sentence-transformers", self.target)
        self.assertNotIn("## Metrics", (self.target / "README.md").read_text())
        self.assertRegex(self.ok("diff", self.run_folder / "model", self.target).stdout, "^equal")


class Verify(Exported):
    def test_all_that_a_run_keeps(self):
        lines = self.ok("verify", self.run_folder).stdout.splitlines()
        self.assertTrue(all(line.startswith("ok  ") for line in lines))
        for name in ("best.h5", "step-000000100.h5", "metrics.json", "model/model.safetensors"):
            self.assertEqual(sum(line.endswith(name) for line in lines), 1, name)

    def test_the_damaged_tensor_is_named(self):
        shutil.copytree(self.run_folder, self.target)
        path = self.target / "checkpoints/step-000000100.h5"
        values = self.tensor("encoder.layer.1.output.dense.weight", path)
        data = bytearray(path.read_bytes())
        at = data.find(values)
        self.assertGreater(at, 0)
        data[at + 5] ^= 1
        path.write_bytes(data)
        done = graft("verify", self.target)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stdout, "(?m)^damaged  .*step-000000100.h5: .*SHA-256.*"
                                      "the damage is in encoder.layer.1.output.dense.weight")
        self.assertRegex(done.stderr, r"^graft: error: .*: 1 of \d+ files are damaged$")
        self.fails(7, "eval", path, self.folder / "project/test.jsonl", says="SHA-256")

    def tensor(self, name, path):
        """The float32 values of a parameter, from an export of the same model."""
        out = self.folder / "single.safetensors"
        self.ok("export", path, "--to", "safetensors", out)
        return read_safetensors(out)[name]

    def test_a_checkpoint_that_libhdf5_cannot_read(self):
        path = self.folder / "broken.h5"
        data = bytearray((self.run_folder / "checkpoints/best.h5").read_bytes())
        data[512:1536] = bytes(1024)
        path.write_bytes(data)
        done = graft("verify", path)
        self.assertEqual(done.returncode, 7)
        self.assertIn("the damage keeps it from being read", done.stdout)

    def test_model_and_metrics(self):
        shutil.copytree(self.run_folder, self.target)
        (self.target / "model/config.json").write_text("{}")
        (self.target / "metrics.json").unlink()
        done = graft("verify", self.target)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stdout, "(?m)^damaged  .*model/config.json: its SHA-256 is not")
        self.assertRegex(done.stdout, "(?m)^damaged  .*metrics.json: cannot read it")

    def test_what_has_no_digest(self):
        self.fails(4, "verify", self.run_folder / "model", says="nothing else carries digests")
        self.fails(4, "verify", self.folder / "nowhere", says="there is no such file")
        done = graft("verify", self.run_folder / "metrics.json")
        self.assertEqual(done.returncode, 7)
        self.assertIn("it is no checkpoint of graft", done.stdout)


class Diff(Exported):
    def test_checkpoints_with_their_moments(self):
        a, b = (self.run_folder / f"checkpoints/step-000000{n}.h5" for n in ("075", "100"))
        done = graft("diff", a, b)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stdout, r"(?m)^heads.category.bias m +\[28\] +\d+ of 28 differ")
        self.assertRegex(self.ok("diff", a, a).stdout, "^equal: ")

    def test_moments_count_only_where_both_have_them(self):
        best = self.run_folder / "checkpoints/best.h5"
        self.assertRegex(self.ok("diff", best, self.run_folder).stdout, "^equal: ")

    def test_settings(self):
        shutil.copytree(self.run_folder / "model", self.target)
        config = self.target / "sentence_bert_config.json"
        config.write_text(json.dumps({"max_seq_length": 9, "do_lower_case": False}))
        done = graft("diff", self.run_folder, self.target)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stdout, "^max_length +32 against 9\n$")

    def test_bare_weights(self):
        folder = ROOT / "tests/data/checkpoints"
        self.assertRegex(self.ok("diff", folder / "plain/model.safetensors",
                                 folder / "plain/model.safetensors").stdout, "^equal: ")
        done = graft("diff", folder / "plain/model.safetensors", folder / "types.safetensors")
        self.assertEqual(done.returncode, 7)
        self.assertIn("only in", done.stdout)
        self.fails(2, "diff", folder, says="diff")


if __name__ == "__main__":
    unittest.main()
