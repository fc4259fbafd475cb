"""A graft recipe with every strategy, carried out by torch, for make_strategies.py.

recipe.py is the plain core of this: one optimizer over all parameters, one group a parameter,
schedules that restart with each phase, clipping over what trains. Here, by the papers' formulas as
the other scripts have them: the losses (make_losses.py), balancing and surgery (make_balance.py),
schedules (make_schedules.py), the rows of batches (make_epochs.py). What trains has a gradient in
every update, if only one of zeros: a head whose task has no label in an update goes on by its
momentum. A frozen parameter has none, and torch's optimizers skip it.
"""
import json
import re

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import AutoTokenizer, BertForMaskedLM

import common as c
import make_balance as b
import make_epochs
import make_losses
import make_schedules
import recipe as r

OPS = {"classification": "cross_entropy", "multi_label": "binary_cross_entropy",
       "regression": "squared_error", "ordinal": "ordinal"}
ADAMW = {"betas": (0.9, 0.999), "eps": 1e-8}


# ---- data ----------------------------------------------------------------------------------------

def sources(recipe):
    """The files, each with the tasks that read it."""
    out = {}
    for task in recipe["tasks"]:
        path = (task.get("data") or recipe["data"])["train"]
        out.setdefault(path, []).append(task["name"])
    return out or {recipe["data"]["train"]: []}


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def tokenize(folder, rows, max_length):
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    texts = [row["text"] for row in rows]
    return tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]


def class_number(task, label):
    return task["classes"].index(label if isinstance(label, str) else str(label))


def label_of(task, label):
    """As make_losses.py wants it: a class, or numbers with NaN where there is none."""
    if task["type"] == "regression":
        return float("nan") if label is None else float(label)
    if task["type"] == "multi_label":
        if isinstance(label, str):
            label = [part.strip() for part in label.split("|") if part.strip()]
        return [float("nan") if label is None else float(name in label) for name in task["classes"]]
    return -1 if label is None else class_number(task, label)


class Data:
    """All sources one behind the other: token ids, labels by task, sizes of the sources."""

    def __init__(self, folder, recipe):
        self.ids, self.sizes, self.labels = [], [], {t["name"]: [] for t in recipe["tasks"]}
        for path, owners in sources(recipe).items():
            rows = read_rows(folder / path)
            self.sizes.append(len(rows))
            self.ids += tokenize(folder, rows, recipe["model"]["max_length"])
            for t in recipe["tasks"]:
                mine = [row.get(t["label"]) if t["name"] in owners else None for row in rows]
                self.labels[t["name"]] += [label_of(t, label) for label in mine]
        for t in recipe["tasks"]:
            kind = torch.double if t["type"] in ("regression", "multi_label") else torch.long
            self.labels[t["name"]] = torch.tensor(self.labels[t["name"]], dtype=kind)


def epoch_batches(recipe, data, phase, epoch):
    """Rows of each batch; all of them in one where the batch is as large as the data."""
    size, tokens = recipe["batch"].get("size") or 0, recipe["batch"].get("tokens") or 0
    if not tokens and size >= len(data.ids):
        return [list(range(len(data.ids)))]
    make_epochs.lengths = lambda rows: [len(ids) for ids in data.ids]
    return make_epochs.epoch_of(dict(
        sizes=data.sizes, kind=recipe["mix"]["type"], seed=recipe["seed"], phase=phase, epoch=epoch,
        epochs=recipe["phases"][phase]["epochs"], size=size, tokens=tokens,
        bucket=recipe["batch"]["bucket"]))


def epoch_updates(recipe, batches):
    """The rows of each update: those of `accumulate` batches."""
    each = recipe["batch"].get("accumulate", 1)
    return [sum(batches[i:i + each], []) for i in range(0, len(batches), each)]


# ---- masks, by data/mask.h -----------------------------------------------------------------------

def philox(counter, key):
    """Philox4x32-10, Salmon et al. 2011."""
    x, (k0, k1) = list(counter), key
    for _ in range(10):
        p0, p1 = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [p1 >> 32 ^ x[1] ^ k0, p1 & 0xFFFFFFFF, p0 >> 32 ^ x[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return x


class Masker:
    def __init__(self, folder, recipe):
        self.words = (folder / "model" / "vocab.txt").read_text().split("\n")[:-1]
        settings = recipe.get("mlm", {})
        self.probability = settings.get("probability", 0.15)
        self.whole_word = settings.get("whole_word", False)
        seed = recipe["seed"] ^ make_epochs.stream_of("mask")
        self.key = (seed & 0xFFFFFFFF, seed >> 32)

    def whole_words(self, ids, draws):
        """Tokens in words of their own, chosen in the order of a random number while they fit."""
        words = []
        for i, token in enumerate(ids):
            if token < len(c.SPECIAL):
                words.append(None)
            elif self.words[token].startswith("##") and words and words[-1] is not None:
                words[-1].append(i)
            else:
                words.append([i])
        words = sorted(filter(None, words), key=lambda w: (draws[w[0]][3], w[0]))
        wanted, chosen = max(1, round(self.probability * len(ids))), []
        for word in words:
            if len(chosen) + len(word) <= wanted:
                chosen += word
        return chosen or (words[0] if words else [])

    def mask(self, ids, row, phase, epoch):
        """-> the ids to read, and those to be found again, -100 elsewhere."""
        draws = [philox((i, row, epoch, phase), self.key) for i in range(len(ids))]
        if self.whole_word:
            chosen = self.whole_words(ids, draws)
        else:
            chosen = [i for i, token in enumerate(ids)
                      if token >= len(c.SPECIAL) and draws[i][0] / 2**32 < self.probability]
        seen, wanted = list(ids), [-100] * len(ids)
        for i in chosen:
            fate, wanted[i] = draws[i][1] / 2**32, ids[i]
            if fate < 0.8:
                seen[i] = c.MASK
            elif fate < 0.9:
                seen[i] = draws[i][2] * len(self.words) >> 32
                assert seen[i] != c.PAD, "torch gives [PAD] no gradient: choose another seed"
        return seen, wanted


# ---- the model -----------------------------------------------------------------------------------

class Net:
    """parameters: graft's names; those of the decoder only in a recipe with an mlm phase."""

    def __init__(self, folder, recipe, dtype):
        self.recipe = recipe
        self.model = BertForMaskedLM.from_pretrained(folder / "model", dtype=dtype,
                                                     attn_implementation="eager").eval()
        heads = c.load_heads(folder / "heads.safetensors", dtype)
        tasks = [t["name"] for t in recipe["tasks"]]
        self.heads = {n: p for n, p in heads.items() if n.split(".")[1] in tasks}
        mlm = any(p.get("objective") == "mlm" for p in recipe["phases"])
        own = {n.removeprefix("bert."): p for n, p in self.model.named_parameters()}
        own = {n: p for n, p in own.items() if mlm or not n.startswith("cls.")}
        self.parameters = own | self.heads
        self.data = Data(folder, recipe)
        self.texts = self.data
        if "data" in recipe.get("mlm", {}):
            unlabelled = {"tasks": [], "data": {"train": recipe["mlm"]["data"]}}
            self.texts = Data(folder, recipe | unlabelled)
        self.masker = Masker(folder, recipe)
        self.settings = {t["name"]: self.loss_settings(t) for t in recipe["tasks"]}

    def loss_settings(self, task):
        weight = task.get("class_weights")
        if weight == "balanced":
            weight = balanced(task, self.data.labels[task["name"]])
        elif weight:
            weight = [weight.get(name, 1.0) for name in task["classes"]]
        # graft keeps class weights as float32
        weight = None if weight is None else torch.tensor(weight, dtype=torch.float32).double()
        return dict(class_weight=weight, smoothing=task.get("label_smoothing", 0.0),
                    gamma=task.get("focal_gamma", 0.0))

    def task_losses(self, rows):
        """Of each task over the rows' labels; None without any."""
        hidden, mask = c.encode(self.model.bert, [self.data.ids[i] for i in rows])
        embedding = c.normalise(c.pool(hidden, mask, "mean"))
        out = []
        for t in self.recipe["tasks"]:
            name, loss = t["name"], make_losses.LOSSES[OPS[t["type"]]]
            z = embedding @ self.heads[f"heads.{name}.weight"].T + self.heads[f"heads.{name}.bias"]
            total, divisor = loss(z.double(), self.data.labels[name][rows], self.settings[name])
            out.append(total / divisor if divisor > 0 else None)
        return out

    def mlm_loss(self, rows, phase, epoch):
        seen, wanted = zip(*[self.masker.mask(self.texts.ids[i], i, phase, epoch) for i in rows])
        ids, mask = c.pad_batch(seen)
        labels = torch.full_like(ids, -100)
        for i, row in enumerate(wanted):
            labels[i, :len(row)] = torch.tensor(row)
        return self.model(input_ids=ids, attention_mask=mask,
                          token_type_ids=torch.zeros_like(ids), labels=labels).loss


def balanced(task, labels):
    """scikit-learn's "balanced": n / (C n_c); of a multi_label class negatives over positives."""
    if task["type"] == "multi_label":
        there = labels[~labels[:, 0].isnan()]
        positive = there.sum(0)
        return ((len(there) - positive) / positive).tolist()
    there = labels[labels >= 0]
    counts = torch.bincount(there, minlength=len(task["classes"]))
    return (len(there) / (len(counts) * counts.double())).tolist()


# ---- balancing -----------------------------------------------------------------------------------

class Fixed:
    def total(self, losses):
        return sum(w * x for w, x in zip(b.FIXED, losses) if x is not None and w > 0)

    def see(self, losses, lengths, after):
        pass

    def end_epoch(self):
        pass


class GradNorm(b.GradNorm):
    def norms(self, losses, lengths):
        return {k: b.FIXED[k] * self.w[k] * lengths[k] for k in b.present(losses)}


METHODS = {"uncertainty": b.Uncertainty, "dwa": b.Dwa, "gradnorm": GradNorm, "famo": b.Famo}


def fix_weights(recipe, phase):
    """make_balance.py knows four tasks; one of weight 0 is none."""
    weights = r.phase_weights(phase, recipe["tasks"])
    b.FIXED = list(weights.values()) + [0.0] * (4 - len(weights))
    b.REGRESSION = [t["type"] == "regression" for t in recipe["tasks"]]
    b.REGRESSION += [False] * (4 - len(weights))


def make_balance(recipe):
    settings = recipe.get("balance", {})
    if "method" not in settings:
        return Fixed()
    rate = 0.01 if settings["method"] == "uncertainty" else 0.025
    defaults = {"lr": rate, "alpha": 1.5, "temperature": 2.0, "decay": 0.01}
    return METHODS[settings["method"]](defaults | settings)


def find_weights(balance, losses):
    """-> (the total, its slope along each loss)."""
    leaves = [None if x is None else x.detach().double().requires_grad_() for x in losses]
    total = balance.total(leaves)
    there = [x for x in leaves if x is not None]
    slopes = iter(torch.autograd.grad(total, there, allow_unused=True))
    slopes = [None if x is None else next(slopes) for x in leaves]
    return total.item(), [None if s is None else s.item() for s in slopes]


# ---- what trains ---------------------------------------------------------------------------------

def is_open(name, lowest):
    if name.startswith("embeddings."):
        return lowest < 0
    layer = re.match(r"encoder\.layer\.(\d+)\.", name)
    return not layer or int(layer.group(1)) >= lowest


def lowest_layer(phase, n_layers, epoch, step):
    """Heads alone, then k layers more in each stage, the embeddings last."""
    settings = phase.get("unfreeze")
    if not settings:
        return -1
    if "every_steps" in settings:
        stage = step // settings["every_steps"]
    else:
        stage = epoch // settings["every_epochs"]
    before = settings["layers"] * (stage - 1)
    return -1 if before >= n_layers else max(0, n_layers - settings["layers"] * stage)


def phase_rules(net, phase):
    """-> {name: lr, weight decay, l2_sp} by the first pattern that matches."""
    n_layers = net.model.config.num_hidden_layers
    default = net.recipe["optimizer"].get("weight_decay", 0.01)
    still = "heads." if phase.get("objective") == "mlm" else "cls.predictions."
    out = {}
    for name in net.parameters:
        for pattern, rule in phase["trainable"].items():
            if re.fullmatch(r.pattern_regex(pattern, n_layers), name):
                plain = name.endswith(".bias") or ".LayerNorm." in name
                decay = rule.get("weight_decay", 0.0 if plain else default)
                power = r.layer_decay_power(name, n_layers)
                lr = rule["lr"] * rule.get("layer_decay", 1.0) ** power
                out[name] = dict(lr=lr, weight_decay=decay, l2_sp=rule.get("l2_sp", 0.0))
                break
    return {n: rule for n, rule in out.items() if not n.startswith(still)}


def make_optimizer(recipe, parameters):
    groups = [{"params": [p], "name": n} for n, p in parameters.items()]
    options = recipe["optimizer"]
    if options["name"] == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=options.get("momentum", 0.9),
                               nesterov=options.get("nesterov", False))
    return torch.optim.AdamW(groups, betas=tuple(options.get("betas", ADAMW["betas"])),
                             eps=options.get("eps", ADAMW["eps"]))


def phase_factors(phase, total):
    settings = dict(phase.get("schedule", {}))
    kind, warmup = settings.pop("type", "constant"), settings.pop("warmup", 0)
    if kind in ("constant", "linear", "cosine"):
        return r.schedule_factors(kind, warmup, total)
    return make_schedules.factors(kind, r.warmup_updates(warmup, total), total, settings)


# ---- an update -----------------------------------------------------------------------------------

def flat(gradients, names):
    return torch.cat([gradients[n].reshape(-1) for n in names]) if names else torch.zeros(0)


def task_gradients(losses, parameters):
    """Each task's gradient of its raw loss, zeros where it does not reach; None without a label."""
    out = []
    for loss in losses:
        if loss is None:
            out.append(None)
            continue
        found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True,
                                    allow_unused=True)
        out.append({n: torch.zeros_like(p) if g is None else g
                    for (n, p), g in zip(parameters.items(), found)})
    return out


def combine(recipe, gradients, weights, parameters, step):
    """Sets the parameters' gradients: surgery on the shared ones, the sum for the heads."""
    surgery = recipe.get("surgery", {}).get("method", "none")
    weighted = [None if g is None else {n: w * x for n, x in g.items()}
                for g, w in zip(gradients, weights)]
    there = [g for g in weighted if g is not None]
    for name, p in parameters.items():
        p.grad = sum(g[name] for g in there)
    if surgery == "none":
        return
    shared = [n for n in parameters if not n.startswith("heads.")]
    vectors = [None if g is None else flat(g, shared) for g in weighted]
    if surgery == "pcgrad":
        whole = b.pcgrad(vectors, recipe["seed"], step)
    else:
        whole = b.cagrad(vectors, recipe["surgery"].get("c", 0.5))
        whole = torch.as_tensor(whole, dtype=vectors[0].dtype)
    for name, part in zip(shared, whole.split([parameters[n].numel() for n in shared])):
        parameters[name].grad = part.reshape(parameters[name].shape).clone()


def top_lengths(gradients, parameters, n_layers):
    """Lengths of the raw losses' gradients over the last layer, GradNorm's W."""
    names = [n for n in parameters if n.startswith(f"encoder.layer.{n_layers - 1}.")]
    return {k: flat(g, names).norm().item() for k, g in enumerate(gradients) if g is not None}


class Training:
    def __init__(self, folder, recipe, dtype):
        self.net = Net(folder, recipe, dtype)
        self.recipe, self.parameters = recipe, self.net.parameters
        self.optimizer = make_optimizer(recipe, self.parameters)
        self.anchors, self.averages, self.step = {}, {}, 0
        self.counts = dict.fromkeys(self.parameters, 0)
        fix_weights(recipe, {})
        self.balance = make_balance(recipe)
        self.records, self.batches = [], []

    def open(self, rules, lowest):
        """What trains now; anchors and averages are born with it."""
        trained = {n: p for n, p in self.parameters.items() if n in rules and is_open(n, lowest)}
        for name, p in self.parameters.items():
            p.requires_grad_(name in trained)
            p.grad = None
        for name, p in trained.items():
            if rules[name]["l2_sp"] > 0:
                self.anchors.setdefault(name, p.detach().clone())
            self.averages.setdefault(name, p.detach().clone())
        return trained

    def apply(self, trained, rules, factor):
        for name, p in trained.items():
            if rules[name]["l2_sp"] > 0:
                p.grad = p.grad + rules[name]["l2_sp"] * (p.detach() - self.anchors[name])
        limit = self.recipe["optimizer"].get("clip_norm") or torch.inf
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), limit)
        for group in self.optimizer.param_groups:
            rule = rules.get(group["name"], {"lr": 0.0, "weight_decay": 0.0})
            group.update(lr=rule["lr"] * factor, weight_decay=rule["weight_decay"])
        self.optimizer.step()
        decay = self.recipe["optimizer"].get("ema")
        if decay:
            get_ema_multi_avg_fn(decay)([self.averages[n] for n in trained],
                                        [p.detach() for p in trained.values()], 1)
        for name in trained:
            self.counts[name] += 1
        return norm.item()

    def update(self, rows, trained, rules, factor):
        losses = self.net.task_losses(rows)
        total, weights = find_weights(self.balance, losses)
        gradients = task_gradients(losses, trained)
        combine(self.recipe, gradients, weights, trained, self.step)
        norm = self.apply(trained, rules, factor)
        lengths = top_lengths(gradients, trained, self.net.model.config.num_hidden_layers)
        with torch.no_grad():
            after = self.net.task_losses(rows)
        kept = [None if x is None else x.detach().double() for x in losses]
        self.balance.see(kept, lengths, [None if x is None else x.double() for x in after])
        return dict(losses=[None if x is None else x.item() for x in losses], weights=weights,
                    total=total, norm=norm)

    def mlm_update(self, rows, place, trained, rules, factor):
        loss = self.net.mlm_loss(rows, *place)
        loss.backward()
        norm = self.apply(trained, rules, factor)
        return dict(losses=[loss.item()], weights=[1.0], total=loss.item(), norm=norm)

    def run_phase(self, index):
        phase, step = self.recipe["phases"][index], 0
        mlm, rules = phase.get("objective") == "mlm", phase_rules(self.net, phase)
        data = self.net.texts if mlm else self.net.data
        epochs = [epoch_batches(self.recipe, data, index, i) for i in range(phase["epochs"])]
        self.batches.append(epochs)
        factors = phase_factors(phase, sum(len(epoch_updates(self.recipe, e)) for e in epochs))
        n_layers = self.net.model.config.num_hidden_layers
        fix_weights(self.recipe, phase)
        for epoch, batches in enumerate(epochs):
            for rows in epoch_updates(self.recipe, batches):
                trained = self.open(rules, lowest_layer(phase, n_layers, epoch, step))
                given = (trained, rules, factors[step])
                made = self.mlm_update(rows, (index, epoch), *given) if mlm else \
                    self.update(rows, *given)
                elements = sum(p.numel() for p in trained.values())
                self.records.append(made | dict(factor=factors[step], elements=elements))
                step, self.step = step + 1, self.step + 1
            if not mlm:
                self.balance.end_epoch()
        if self.recipe["optimizer"].get("ema"):
            with torch.no_grad():
                for name, average in self.averages.items():
                    self.parameters[name].copy_(average)
        self.averages = {}


def run(folder, recipe, dtype=torch.float64):
    """Trains on what is on disk, all phases."""
    training = Training(folder, recipe, dtype)
    for index in range(len(recipe["phases"])):
        training.run_phase(index)
    return training
