/* mlm: the masked language model over a packed batch, to bring a base closer to a domain's text
 * before heads are trained on it (Devlin et al. 2019, section 3.1 and appendix A; Gururangan et al.
 * 2020).
 *
 *     if (!gf_model_add_mlm(m, e) || !gf_folder_read_mlm(m, base, log, e) ||
 *         !gf_model_init(m, seed, e)) goto done;                (what the base lacks is drawn)
 *     ...
 *     if (!gf_mask_make(&masked, masker, &batch, &place, e)) goto done;      (data/mask.h)
 *     gf_node *h = gf_model_hidden(graph, m, &masked.batch, &mode);          [T, H]
 *     gf_node *z = gf_mlm_logits(graph, m, h, masked.positions, masked.count);   [M, V]
 *     gf_attr attr = {.ids = masked.labels, .divisor = (double)masked.count};
 *     gf_node *loss = gf_call(graph, cross_entropy, &attr, z);
 *
 * z = LayerNorm(act(rows W + b)) Eᵀ + c, over the rows of masked tokens alone: W, b and the norm
 * are cls.predictions.transform.*, c is cls.predictions.bias [V], E [V, H] the word embeddings,
 * whose gradient is the sum of both their uses (Press & Wolf 2017). act is the config's hidden_act.
 */
#ifndef GF_MODEL_MLM_H
#define GF_MODEL_MLM_H

#include "autograd/graph.h"
#include "model/model.h"

/* Logits [n, V] at n rows of the hidden states [T, H]; n may be 0, a loss over them is 0 then, and
 * so are all gradients. positions outlive the run. The model has its masked language model. */
gf_node *gf_mlm_logits(gf_graph *g, gf_model *m, gf_node *hidden, const int32_t *positions,
                       int64_t n);

#endif
