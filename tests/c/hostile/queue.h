/* ---- the completion queue; tests/c/queue.c uses it ---- */

static mtasts_queue *new_queue(void) {
    mtasts_queue *queue = NULL;
    GIVES(MTASTS_OK, mtasts_queue_new(context, &queue, NULL));
    return queue;
}

static void queue_new(void) {
    mtasts_queue *const none = (mtasts_queue *)-1, *out = none;
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(NULL, &out, error));
    CHECK(out == none);
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(context, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(NULL, NULL, error));
}

static void queue_fd(void) { GIVES(MTASTS_E_ARGUMENT, mtasts_queue_fd(NULL)); }

/* A lookup that is complete when it was submitted. */
static void is_complete(mtasts_queue *queue, uint64_t *id) {
    mtasts_completion done = {.size = sizeof done};
    GIVES(1, mtasts_queue_next(queue, &done));
    CHECK(done.id == *id && done.status == MTASTS_OK);
    cannot_have_a_policy(done.answer);
    *id = 77;
}

static void queue_submit(void) {
    mtasts_queue *queue = new_queue();
    uint64_t id = 77;
    ANSWERS_BAD_NAMES(mtasts_queue_submit(queue, name, length, 0, NULL, &id, error), is_complete(queue, &id));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_submit(NULL, "a.example", MTASTS_NUL_TERMINATED, 0, NULL, &id, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_submit(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, NULL, error));
    CHECK(id == 77);
    mtasts_queue_free(queue);
}

static void queue_recheck(void) {
    mtasts_queue *queue = new_queue();
    uint64_t id = 77;
    ANSWERS_BAD_NAMES(mtasts_queue_recheck(queue, name, length, 0, NULL, &id, error), is_complete(queue, &id));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_recheck(NULL, "a.example", MTASTS_NUL_TERMINATED, 0, NULL, &id, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_recheck(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, NULL, error));
    CHECK(id == 77);
    mtasts_queue_free(queue);
}

static void queue_next(void) {
    mtasts_completion done = {.size = sizeof done, .id = 77, .status = 77};
    const size_t sizes[] = {0, sizeof done - 1, 8193, SIZE_MAX};
    mtasts_queue *queue = new_queue();
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(NULL, &done));
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(queue, NULL));
    GIVES(0, mtasts_queue_next(queue, &done));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        done.size = sizes[i];
        GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(queue, &done));
    }
    CHECK(done.id == 77 && done.status == 77);
    mtasts_queue_free(queue);
}

static void queue_cancel(void) {
    mtasts_queue *queue = new_queue();
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_cancel(NULL, 1));
    GIVES(0, mtasts_queue_cancel(queue, 0));
    GIVES(0, mtasts_queue_cancel(queue, UINT64_MAX));
    mtasts_queue_free(queue);
}

static void queue_free(void) { mtasts_queue_free(NULL); }
