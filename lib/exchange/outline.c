/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outline.c - a graph of one decoding row has every weight of its model.
 */
#include "exchange/outline.h"

#include "model/model.h"

int outline_make(const Nnd__Job *job, int64_t vocab, struct outline *out, struct err *e)
{
    const struct decode_shape one = {.rows = 1, .sources = 1};
    struct decode_step step;
    struct mesh mesh;

    *out = (struct outline){0};
    if (mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, e) < 0)
        return e->code;
    out->graph = graph_create(&mesh, NND_F32, NND_F32);
    if (model_decode(out->graph, job, vocab, &one, &step, e) < 0)
        return e->code;
    return layout_create(out->graph, NULL, &out->layout, e);
}

void outline_free(struct outline *o)
{
    layout_destroy(o->layout);
    graph_destroy(o->graph);
}

int outline_count(const struct outline *o)
{
    return o->layout->ntensor;
}

const struct safetensors_tensor *outline_at(const struct outline *o, int i)
{
    return o->layout->tensor[i].at;
}
