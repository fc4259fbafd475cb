/* A second project for the fault tests: recipes that between them use every strategy, task type,
 * mix, balance and objective at once, on the texts of crash_help.h with more kinds of labels.
 *
 *     make_features(state);
 *     for (int i = 0; i < N_FEATURES; i++) run_ok(&(attempt){.recipe = features[i].name});
 *
 * All write into FOLDER/run. */
#ifndef GF_TESTS_FEATURES_HELP_H
#define GF_TESTS_FEATURES_HELP_H

#include "tests/crash_help.h"

/* A task of each type; "stars" has files of its own. */
static const char features_begin[] =
    "{\"model\": {\"base\": \"base\", \"max_length\": 12, \"dropout\": 0.1},"
    " \"data\": {\"train\": \"rows.jsonl\", \"dev\": \"rows-dev.jsonl\","
    " \"test\": \"rows-test.jsonl\"},"
    " \"tasks\": [{\"name\": \"mood\", \"classes\": [\"bad\", \"good\"]},"
    " {\"name\": \"topics\", \"type\": \"multi_label\"},"
    " {\"name\": \"price\", \"type\": \"regression\"},"
    " {\"name\": \"stars\", \"type\": \"ordinal\", \"data\": {\"train\": \"stars.jsonl\","
    " \"dev\": \"stars-dev.jsonl\"}}],"
    " \"log\": {\"every_steps\": 2}, \"save\": {\"every_steps\": 2, \"keep\": 2}, \"seed\": 4,"
    " \"output\": \"run\", ";

typedef struct feature {
    const char *name; /* of the recipe's file */
    const char *rest; /* of the recipe */
} feature;

static const feature features[] = {
    /* Layers open within an epoch, and once just where it ends. */
    {"adapt.json",
     "\"batch\": {\"size\": 4}, \"mix\": {\"type\": \"annealed\"},"
     " \"optimizer\": {\"ema\": 0.8, \"weight_decay\": 0.1},"
     " \"balance\": {\"method\": \"famo\"}, \"surgery\": {\"method\": \"pcgrad\"},"
     " \"conflicts\": {\"every_steps\": 1},"
     " \"phases\": [{\"name\": \"adapt\", \"objective\": \"mlm\", \"epochs\": 2,"
     " \"trainable\": {\"*\": {\"lr\": 0.05}},"
     " \"schedule\": {\"type\": \"reduce_on_plateau\", \"patience\": 0}},"
     "{\"name\": \"open\", \"epochs\": 2, \"unfreeze\": {\"layers\": 1, \"every_steps\": 2},"
     " \"trainable\": {\"heads.*\": {\"lr\": 0.1},"
     " \"*\": {\"lr\": 0.02, \"layer_decay\": 0.5, \"l2_sp\": 0.1}}}]}\n"},
    /* One moment, batches of tokens, rates that fall, a task that takes no part at the end. */
    {"plateau.json",
     "\"batch\": {\"tokens\": 24}, \"mix\": {\"type\": \"round_robin\"},"
     " \"optimizer\": {\"name\": \"sgd\", \"momentum\": 0.9, \"ema\": 0.7},"
     " \"balance\": {\"method\": \"gradnorm\"}, \"surgery\": {\"method\": \"cagrad\"},"
     " \"conflicts\": {\"every_steps\": 2}, \"select\": {\"metric\": \"loss\"},"
     " \"phases\": [{\"name\": \"upper\", \"epochs\": 1, \"loss_weights\": {\"stars\": 0},"
     " \"trainable\": {\"heads.*\": {\"lr\": 0.3},"
     " \"encoder.layer[-1:].*\": {\"lr\": 0.2, \"l2_sp\": 0.5}}},"
     "{\"name\": \"all\", \"epochs\": 5, \"trainable\": {\"*\": {\"lr\": 0.2, \"l2_sp\": 0.01}},"
     " \"schedule\": {\"type\": \"reduce_on_plateau\", \"patience\": 1, \"factor\": 0.5}}]}\n"},
    /* Gradients are compared and then made again; weights that go by epochs, over an mlm phase. */
    {"turns.json",
     "\"batch\": {\"size\": 2, \"accumulate\": 2}, \"mix\": {\"type\": \"uniform\"},"
     " \"optimizer\": {\"name\": \"sgd\", \"momentum\": 0.8, \"nesterov\": true},"
     " \"balance\": {\"method\": \"dwa\"}, \"conflicts\": {\"every_steps\": 1},"
     " \"phases\": [{\"name\": \"open\", \"epochs\": 3, \"loss_weights\": {\"price\": 0},"
     " \"unfreeze\": {\"layers\": 1, \"every_epochs\": 2},"
     " \"trainable\": {\"*\": {\"lr\": 0.1, \"l2_sp\": 0.1}}},"
     "{\"name\": \"words\", \"objective\": \"mlm\", \"trainable\": {\"*\": {\"lr\": 0.05}}},"
     "{\"name\": \"all\", \"loss_weights\": {\"price\": 0}, \"trainable\": {"
     "\"*\": {\"lr\": 0.1}}}]}\n"},
    /* A phase that ends early, whose average is taken over. */
    {"early.json",
     "\"batch\": {\"size\": 5}, \"mix\": {\"type\": \"square_root\"},"
     " \"optimizer\": {\"ema\": 0.9}, \"balance\": {\"method\": \"uncertainty\", \"lr\": 0.1},"
     " \"select\": {\"patience\": 1},"
     " \"phases\": [{\"name\": \"still\", \"epochs\": 5, \"trainable\": {\"*\": {\"lr\": 1e-9}}},"
     "{\"name\": \"heads\", \"trainable\": {\"heads.*\": {\"lr\": 0.1}}},"
     "{\"name\": \"all\", \"epochs\": 2, \"trainable\": {\"*\": {\"lr\": 0.05, \"l2_sp\": 1}},"
     " \"schedule\": {\"type\": \"one_cycle\"}}]}\n"},
    /* Weights that need the losses before and after an update, of several batches. */
    {"after.json",
     "\"batch\": {\"size\": 3, \"accumulate\": 2}, \"mix\": {\"type\": \"temperature\","
     " \"temperature\": 2}, \"balance\": {\"method\": \"famo\", \"lr\": 0.1},"
     " \"optimizer\": {\"ema\": 0.5}, \"conflicts\": {\"every_steps\": 3},"
     " \"phases\": [{\"name\": \"heads\", \"trainable\": {\"heads.*\": {\"lr\": 0.1}}},"
     "{\"name\": \"all\", \"epochs\": 2, \"trainable\": {\"*\": {\"lr\": 0.05}},"
     " \"schedule\": {\"type\": \"cosine_with_restarts\", \"cycles\": 2}}]}\n"}};
enum { N_FEATURES = sizeof features / sizeof *features };

static const char labelled[] =
    "{\"text\": \"the cheese was tasty\", \"mood\": \"good\", \"topics\": [\"food\"], \"price\": "
    "2.5}\n"
    "{\"text\": \"bad shoes\", \"mood\": \"bad\", \"topics\": [\"shoes\"], \"price\": -1}\n"
    "{\"text\": \"red shoes are good, the cheese was bad\", \"topics\": [\"food\", \"shoes\"]}\n"
    "{\"text\": \"the shoes was red\", \"mood\": \"bad\", \"price\": 0.25}\n"
    "{\"text\": \"a bad, bad cheese\", \"mood\": \"bad\", \"topics\": [\"food\"], \"price\": -2}\n"
    "{\"text\": \"tasty\", \"mood\": \"good\", \"topics\": []}\n"
    "{\"text\": \"red cheese\", \"topics\": [\"food\"], \"price\": 1.75}\n";
static const char labelled_dev[] =
    "{\"text\": \"good, good shoes\", \"mood\": \"good\", \"topics\": [\"shoes\"], \"price\": 3}\n"
    "{\"text\": \"the cheese was red\", \"mood\": \"bad\", \"topics\": [\"food\"], \"price\": -1}\n"
    "{\"text\": \"bad\", \"mood\": \"bad\", \"topics\": [], \"price\": -3}\n"
    "{\"text\": \"a tasty cheese\", \"mood\": \"good\", \"topics\": [\"food\"], \"price\": 1}\n";
static const char starred[] = "{\"text\": \"a good cheese\", \"stars\": 3}\n"
                              "{\"text\": \"bad, bad, bad\", \"stars\": 1}\n"
                              "{\"text\": \"the shoes are tasty\", \"stars\": 2}\n"
                              "{\"text\": \"red\", \"stars\": 2}\n"
                              "{\"text\": \"good shoes, good cheese\", \"stars\": 3}\n";
static const char starred_dev[] = "{\"text\": \"bad cheese\", \"stars\": 1}\n"
                                  "{\"text\": \"the shoes are red\", \"stars\": 2}\n"
                                  "{\"text\": \"tasty, good\", \"stars\": 3}\n";

/* In place of make_project(). */
static inline int make_features(void **state) {
    if (make_scratch(state) != 0) return -1;
    copy_folder("tests/data/checkpoints/plain", path_of("base"));
    write_file(path_of("rows.jsonl"), labelled);
    write_file(path_of("rows-dev.jsonl"), labelled_dev);
    write_file(path_of("rows-test.jsonl"), labelled);
    write_file(path_of("stars.jsonl"), starred);
    write_file(path_of("stars-dev.jsonl"), starred_dev);
    for (int i = 0; i < N_FEATURES; i++) {
        char text[4096];
        snprintf(text, sizeof text, "%s%s", features_begin, features[i].rest);
        write_file(path_of(features[i].name), text);
    }
    return 0;
}

#endif
